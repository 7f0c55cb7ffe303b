// Verifies one bundle with sigstore-js, an implementation that shares nothing with ours.
// Usage: node verify.cjs TRUST_CONFIG BUNDLE ARTIFACT|- IDENTITY ISSUER
const fs = require('fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const [trustConfig, bundle, artifact, identity, issuer] = process.argv.slice(2);
const { trustedRoot } = JSON.parse(fs.readFileSync(trustConfig));
const entity = toSignedEntity(
  bundleFromJSON(JSON.parse(fs.readFileSync(bundle))),
  artifact === '-' ? undefined : fs.readFileSync(artifact),
);
new Verifier(toTrustMaterial(TrustedRoot.fromJSON(trustedRoot)), {
  ctlogThreshold: 1,
  tlogThreshold: 1,
  timestampThreshold: 1,
}).verify(entity, { subjectAlternativeName: identity, extensions: { issuer } });
