BEGIN TRANSACTION;
CREATE TABLE fedcohort_columns (
	table_name VARCHAR(128) NOT NULL, 
	column_name VARCHAR(128) NOT NULL, 
	position INTEGER, 
	kind VARCHAR(16) NOT NULL, 
	low DOUBLE, 
	high DOUBLE, 
	levels JSON, 
	unit VARCHAR(32), 
	PRIMARY KEY (table_name, column_name)
);
INSERT INTO "fedcohort_columns" VALUES('records','age',NULL,'numeric',NULL,NULL,NULL,NULL);
CREATE TABLE fedcohort_identity (
	id INTEGER NOT NULL, 
	identity VARCHAR(256) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "fedcohort_identity" VALUES(1,'pseudonyms of key 5f76388ee1138bc7, dates shifted by up to 365 days');
CREATE TABLE fedcohort_imports (
	part VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	context VARCHAR(64) NOT NULL, 
	tables TEXT NOT NULL, 
	read BIGINT NOT NULL, 
	written BIGINT NOT NULL, 
	refused BIGINT NOT NULL, 
	done INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (part)
);
INSERT INTO "fedcohort_imports" VALUES('6d322f55a28e7a9555811d528c6f7a46ee475509347bb968dba8a58f8b0b0cdc','records.csv',64,'7acd23a1c2237bfe236fd06a12711166b22dfbee04cb585619bb27ef0a5b46e2','ec181b1012a5645f29fe758752b68a4d764b70756e4a88eeae934a98f2c5cfbb','records',5,5,0,1,1796041808);
CREATE TABLE fedcohort_refusals (
	id INTEGER NOT NULL, 
	part VARCHAR(64) NOT NULL, 
	file TEXT NOT NULL, 
	position TEXT NOT NULL, 
	field TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE records (
	id INTEGER NOT NULL, 
	patient_id VARCHAR(128) NOT NULL, 
	age FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "records" VALUES(1,'p2a25121f97cf76bc8a01aa193b2af95f',10.0);
INSERT INTO "records" VALUES(2,'p7ddd99a9086509fded190724ce064fda',20.0);
INSERT INTO "records" VALUES(3,'pdc80cbf4555123ef69795f4116d7af82',30.0);
INSERT INTO "records" VALUES(4,'p9feb53f9339f07231ac70a12cfbfd469',40.0);
INSERT INTO "records" VALUES(5,'p689abc04784577ef771782fbfcc9b603',50.0);
CREATE INDEX ix_fedcohort_imports_digest ON fedcohort_imports (digest);
CREATE INDEX ix_fedcohort_imports_name ON fedcohort_imports (name);
CREATE INDEX ix_fedcohort_imports_done ON fedcohort_imports (done);
CREATE INDEX ix_fedcohort_refusals_part ON fedcohort_refusals (part);
COMMIT;
