"""Run by an interpreter that has upstream's package: its verdict on envelopes, as JSON lines.

Arguments: the trusted root to believe instead of the public-good one, then envelope files. The
cryptography is upstream's and its own sigstore's; only the choice of trust root is replaced.
"""

import json
import sys
from pathlib import Path

from inferencebench.envelope.models import Envelope
from inferencebench.envelope.verify import verify_envelope
from sigstore._internal.rekor.client import RekorClient
from sigstore._internal.trust import TrustedRoot
from sigstore.verify import Verifier

root = TrustedRoot.from_file(sys.argv[1])
rekor = RekorClient(root._inner.tlogs[0].base_url)
Verifier.production = classmethod(lambda cls, **_options: cls(rekor=rekor, trusted_root=root))

for name in sys.argv[2:]:
    envelope = Envelope.model_validate_json(Path(name).read_bytes())
    result = verify_envelope(envelope)
    sys.stdout.write(
        json.dumps(
            {
                "ok": result.ok,
                "method": result.method,
                "reason": result.reason,
                "identity": result.signer_identity,
                "log_index": result.rekor_log_index,
                "content_hash": envelope.content_hash(),
            }
        )
        + "\n"
    )
