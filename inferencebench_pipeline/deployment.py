"""One deployment's outside world, assembled from settings: its Hub, its signer, its verifier.

The command line and the Dagster resources both start here; nothing below knows about either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inferencebench_pipeline.community_results import EvaluationHub
from inferencebench_pipeline.corpus import PATIENCE, PolicyJudge
from inferencebench_pipeline.hub import Hub, crawling_hub
from inferencebench_pipeline.settings import Settings, SettingsError, hub_token
from inferencebench_pipeline.trust import (
    DevKeySigner,
    IdentityPolicy,
    KeptRoots,
    LogPosition,
    Signer,
    SigstoreSigner,
    TokenSource,
    TrustRoot,
    Verdict,
    ambient_identity,
    command_identity,
    file_identity,
    load_policy,
    load_trust,
    verify_envelope,
)

Verify = Callable[[bytes, bytes | None], Verdict]
"""A verifier of envelope bytes, and of the traces when they are given."""


@dataclass(frozen=True)
class Deployment:
    """The Hub, the namespace, the signer and the verifier of one deployment."""

    settings: Settings

    def require_organisation(self) -> str:
        """Return the Hub namespace to publish under.

        Raises:
            SettingsError: none is set.
        """
        if self.settings.organisation is None:
            raise SettingsError(
                "INFERENCEBENCH_ORGANISATION is not set; set it to the Hub user or organisation "
                "that results are published under"
            )
        return self.settings.organisation

    def hub(self) -> Hub:
        """Return a Hub client; the token is read from its place at each request."""
        return Hub(endpoint=self.settings.hub_endpoint, token=hub_token)

    def crawl_hub(self) -> Hub:
        """Return a Hub client for a crawl of a whole namespace, which waits longer."""
        return crawling_hub(self.settings.hub_endpoint, hub_token)

    def anonymous_hub(self) -> Hub:
        """Return a Hub client without a token, which gives up early, for the records of others."""
        return Hub(self.settings.hub_endpoint, lambda: None, retry=PATIENCE)

    def evaluation_hub(self) -> EvaluationHub:
        """Return a Hub client with the calls that concern evaluation results."""
        return EvaluationHub(self.settings.hub_endpoint, hub_token)

    def trust(self) -> TrustRoot:
        """Return the trust root: the configured deployment's, or the pinned public-good one."""
        return (
            self.kept_roots().current()
            if self.settings.trust_config is None
            else load_trust(self.settings.trust_config)
        )

    def kept_roots(self) -> KeptRoots:
        """Return the versions of Sigstore's public-good trust root that this deployment keeps."""
        return KeptRoots(self.settings.trust_store)

    def policy(self) -> IdentityPolicy:
        """Return the identity policy.

        Raises:
            SettingsError: none is set. Without one, no signature means anything.
        """
        if self.settings.policy is None:
            raise SettingsError(
                "INFERENCEBENCH_POLICY is not set; name the reviewed policy file that says who may "
                "sign for which organisation (docs/trust.md shows one)"
            )
        return load_policy(self.settings.policy)

    def signer(self) -> Signer:
        """Return what signs here: the development key when one is named, an identity otherwise."""
        return (
            self.keyless_signer()
            if self.settings.dev_key is None
            else DevKeySigner(self.settings.dev_key)
        )

    def keyless_signer(self) -> SigstoreSigner:
        """Return a signer whose identity token is fetched when it signs, not before.

        It asks the policy before anything is logged.
        """
        return SigstoreSigner(
            trust=self.trust(),
            identity=self._identity(),
            policy=self.policy(),
            organisation=self.settings.organisation,
        )

    def _identity(self) -> TokenSource:
        if self.settings.identity_token_file is not None:
            return file_identity(self.settings.identity_token_file)
        if self.settings.identity_token_command:
            return command_identity(self.settings.identity_token_command)
        return ambient_identity()

    def corpus_verifier(self) -> PolicyJudge:
        """Return a verifier of anybody's envelopes, which worker processes can open again.

        The trust root and the policy are read once, now.
        """
        return PolicyJudge(self.trust(), self.policy())

    def own_verifier(self) -> Verify:
        """Return a verifier of envelopes that are published under our own organisation.

        The trust root and the policy are read once, now.
        """
        trust, policy = self.trust(), self.policy()

        def verify(envelope: bytes, traces: bytes | None) -> Verdict:
            return verify_envelope(
                envelope,
                trust=trust,
                policy=policy,
                organisation=self.settings.organisation,
                traces=traces,
            )

        return verify

    def log_entry_url(self, position: LogPosition) -> str | None:
        """Return where a person can look at a log entry, when there is such a place."""
        if self.settings.log_viewer is not None:
            return self.settings.log_viewer.replace("{index}", str(position.index))
        return position.url
