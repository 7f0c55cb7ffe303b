"""One deployment's outside world, assembled from settings: its Hub, its signer, its verifier.

The command line and the Dagster resources both start here; nothing below knows about either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.community_results import EvaluationHub
from inferencebench_pipeline.corpus import PATIENCE
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
"""Verifies envelope bytes, and the traces when they are given."""
Judge = Callable[[bytes, bytes | None, str | None], Verdict]
"""The same, for the organisation the envelope is published under; None when that is unknown."""


@dataclass(frozen=True)
class Deployment:
    """Which Hub, whose namespace, which trust configuration and policy."""

    hub_endpoint: str
    organisation: str | None
    trust_config: Path | None
    trust_store: Path
    policy_path: Path | None
    identity_token_file: Path | None
    identity_token_command: tuple[str, ...] = ()
    dev_key: Path | None = None
    log_viewer: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Deployment:
        """Return the deployment that ``settings`` describe."""
        return cls(
            hub_endpoint=settings.hub_endpoint,
            organisation=settings.organisation,
            trust_config=settings.trust_config,
            trust_store=settings.trust_store,
            policy_path=settings.policy,
            identity_token_file=settings.identity_token_file,
            identity_token_command=settings.identity_token_command,
            dev_key=settings.dev_key,
            log_viewer=settings.log_viewer,
        )

    def require_organisation(self) -> str:
        """Return the Hub namespace to publish under.

        Raises:
            SettingsError: none is set.
        """
        if self.organisation is None:
            raise SettingsError(
                "INFERENCEBENCH_ORGANISATION is not set; set it to the Hub user or organisation "
                "that results are published under"
            )
        return self.organisation

    def hub(self) -> Hub:
        """Return a Hub client; the token is read from its place at each request."""
        return Hub(endpoint=self.hub_endpoint, token=hub_token)

    def crawling_hub(self) -> Hub:
        """Return a Hub client that reads at length: see :func:`.hub.crawl.crawling_hub`."""
        return crawling_hub(self.hub_endpoint, hub_token)

    def strangers_hub(self) -> Hub:
        """Return a Hub client for the records of others: public ones only, and little patience."""
        return Hub(self.hub_endpoint, lambda: None, retry=PATIENCE)

    def evaluation_hub(self) -> EvaluationHub:
        """Return a Hub client with the calls that concern evaluation results."""
        return EvaluationHub(self.hub_endpoint, hub_token)

    def trust(self) -> TrustRoot:
        """Return the trust root: the configured deployment's, or the pinned public-good one."""
        return (
            self.kept_roots().current()
            if self.trust_config is None
            else load_trust(self.trust_config)
        )

    def kept_roots(self) -> KeptRoots:
        """Return the versions of Sigstore's public-good trust root that this deployment keeps."""
        return KeptRoots(self.trust_store)

    def policy(self) -> IdentityPolicy:
        """Return the identity policy.

        Raises:
            SettingsError: none is set. Without one, no signature means anything.
        """
        if self.policy_path is None:
            raise SettingsError(
                "INFERENCEBENCH_POLICY is not set; name the reviewed policy file that says who may "
                "sign for which organisation (docs/operating.md shows one)"
            )
        return load_policy(self.policy_path)

    def signer(self) -> Signer:
        """Return what signs here: the development key when one is named, an identity otherwise."""
        return self.keyless_signer() if self.dev_key is None else DevKeySigner(self.dev_key)

    def keyless_signer(self) -> SigstoreSigner:
        """Return a signer whose identity token is fetched when it signs, not before.

        It asks the policy before anything is logged.
        """
        return SigstoreSigner(
            trust=self.trust(),
            identity=self._identity(),
            policy=self.policy(),
            organisation=self.organisation,
        )

    def _identity(self) -> TokenSource:
        if self.identity_token_file is not None:
            return file_identity(self.identity_token_file)
        if self.identity_token_command:
            return command_identity(self.identity_token_command)
        return ambient_identity()

    def judge(self) -> Judge:
        """Return a verifier of anybody's envelopes; trust root and policy are read once, now."""
        trust, policy = self.trust(), self.policy()

        def verify(envelope: bytes, traces: bytes | None, organisation: str | None) -> Verdict:
            return verify_envelope(
                envelope, trust=trust, policy=policy, organisation=organisation, traces=traces
            )

        return verify

    def verifier(self) -> Verify:
        """Return a verifier of envelopes that stand, or are to stand, under our organisation."""
        judge = self.judge()
        return lambda envelope, traces: judge(envelope, traces, self.organisation)

    def log_entry_url(self, position: LogPosition) -> str | None:
        """Return where a person can look at a log entry, when there is such a place."""
        if self.log_viewer is not None:
            return self.log_viewer.replace("{index}", str(position.index))
        return position.url
