// Run by node: the verdict of @sigstore/verify on a bundle over a message, as one line of JSON.
// Arguments: folder with node_modules, trusted root, bundle, message file, identity, issuer.
const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')

const [folder, root, bundle, message, identity, issuer] = process.argv.slice(2)
const load = createRequire(`${folder}/`)
const { bundleFromJSON } = load('@sigstore/bundle')
const { TrustedRoot } = load('@sigstore/protobuf-specs')
const { Verifier, toSignedEntity, toTrustMaterial } = load('@sigstore/verify')

const json = (path) => JSON.parse(readFileSync(path, 'utf8'))
try {
  const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)))
  const verifier = new Verifier(trust, { ctlogThreshold: 1, tlogThreshold: 1, tsaThreshold: 1 })
  const entity = toSignedEntity(bundleFromJSON(json(bundle)), readFileSync(message))
  verifier.verify(entity, { subjectAlternativeName: identity, extensions: { issuer } })
  console.log(JSON.stringify({ ok: true }))
} catch (error) {
  console.log(JSON.stringify({ ok: false, reason: `${error.code ?? error.name}: ${error.message}` }))
}
