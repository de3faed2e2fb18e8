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
INSERT INTO "fedcohort_identity" VALUES(1,'identifiers kept');
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
INSERT INTO "fedcohort_imports" VALUES('d4fa7b4f79e445bb9b123a4c6c68d7f74ffa2344ec6ac85ec9aaa817a3aef95c','records.csv',64,'d7ab303038e2d821e05687353311a7fdf85c188ab1b322123b061556fd424587','','records',5,5,0,1,1796041807);
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
INSERT INTO "records" VALUES(1,'1',10.0);
INSERT INTO "records" VALUES(2,'​23',20.0);
INSERT INTO "records" VALUES(3,'23.0',30.0);
INSERT INTO "records" VALUES(4,'Mü',40.0);
INSERT INTO "records" VALUES(5,'12345.0000000000',50.0);
CREATE INDEX ix_fedcohort_imports_digest ON fedcohort_imports (digest);
CREATE INDEX ix_fedcohort_imports_name ON fedcohort_imports (name);
CREATE INDEX ix_fedcohort_imports_done ON fedcohort_imports (done);
CREATE INDEX ix_fedcohort_refusals_part ON fedcohort_refusals (part);
COMMIT;
