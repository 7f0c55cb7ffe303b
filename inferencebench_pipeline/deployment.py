"""The services of one deployment, assembled from its settings: Hub, signer and verifier.

The command line and the Dagster resources both start here; nothing below knows about either.
"""

from __future__ import annotations

from dataclasses import dataclass

# Rooms, not names: each loads when it is first asked, so that a verifier starts without the Hub.
from inferencebench_pipeline import community_results, corpus
from inferencebench_pipeline import hub as hub_room
from inferencebench_pipeline import trust as trust_room
from inferencebench_pipeline.settings import (
    Settings,
    SettingsError,
    hub_token,
    user_trust_store,
)


@dataclass(frozen=True)
class Deployment:
    """The Hub, the namespace, the signer and the verifier of one deployment."""

    settings: Settings
    trust_named_by: str = "INFERENCEBENCH_TRUST_CONFIG"
    """The variable or option that names the trust configuration, if one is named."""
    policy_named_by: str = "INFERENCEBENCH_POLICY"
    """The variable or option that names the policy, if one is named."""

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

    def hub(self) -> hub_room.Hub:
        """Return a Hub client; the token is read from its place at each request."""
        # A function and no text, so that a rotated token counts at once.
        return hub_room.Hub(endpoint=self.settings.hub_endpoint, token=hub_token)

    def crawl_hub(self) -> hub_room.Hub:
        """Return a Hub client for a crawl of a whole namespace, which waits longer."""
        return hub_room.crawling_hub(self.settings.hub_endpoint, hub_token)

    def anonymous_hub(self) -> hub_room.Hub:
        """Return a Hub client without a token, which gives up early, for the records of others."""
        return hub_room.Hub(self.settings.hub_endpoint, lambda: None, retry=corpus.PATIENCE)

    def evaluation_hub(self) -> community_results.EvaluationHub:
        """Return a Hub client with the calls that concern evaluation results."""
        return community_results.EvaluationHub(self.settings.hub_endpoint, hub_token)

    def trust(self) -> trust_room.TrustRoot:
        """Return the trust root: the one that was named, or else the kept or shipped one.

        Raises:
            TrustConfigError: it cannot be used, or somebody else could have put it there.
        """
        if self.settings.trust_config is not None:
            return trust_room.load_trust(self.settings.trust_config, named_by=self.trust_named_by)
        return self.kept_roots().current()

    def kept_roots(self) -> trust_room.KeptRoots:
        """Return the versions of the trust root that this deployment, or else the user, keeps.

        Raises:
            TrustConfigError: somebody else could write into the user's folder.
        """
        store = self.settings.trust_store
        # A deployment's own folder is its operator's to guard: volumes are often writable for all.
        if store == user_trust_store():
            trust_room.require_safe_place(store)
        return trust_room.KeptRoots(store)

    def policy(self) -> trust_room.IdentityPolicy:
        """Return the identity policy.

        Raises:
            SettingsError: none is set. Without one, no signature means anything.
        """
        if self.settings.policy is None:
            raise SettingsError(
                "INFERENCEBENCH_POLICY is not set; name the reviewed policy file that says who may "
                "sign for which organisation (docs/trust.md shows one)"
            )
        return trust_room.load_policy(self.settings.policy, named_by=self.policy_named_by)

    def signer(self) -> trust_room.Signer:
        """Return the signer: the development key when one is named, an identity otherwise."""
        return (
            self.keyless_signer()
            if self.settings.dev_key is None
            else trust_room.DevKeySigner(self.settings.dev_key)
        )

    def keyless_signer(self) -> trust_room.SigstoreSigner:
        """Return a signer whose identity token is fetched when it signs, not before.

        It asks the policy before anything is logged.
        """
        return trust_room.SigstoreSigner(
            trust=self.trust(),
            identity=self._identity(),
            policy=self.policy(),
            organisation=self.settings.organisation,
        )

    def policy_signer(self) -> trust_room.SigstoreSigner:
        """Return a signer of policies, which asks no policy: a first one is signed under none.

        Its readers name who must have signed.
        """
        return trust_room.SigstoreSigner(trust=self.trust(), identity=self._identity())

    def _identity(self) -> trust_room.TokenSource:
        if self.settings.identity_token_file is not None:
            return trust_room.file_identity(self.settings.identity_token_file)
        if self.settings.identity_token_command:
            return trust_room.command_identity(self.settings.identity_token_command)
        return trust_room.ambient_identity()

    def corpus_verifier(self) -> corpus.PolicyJudge:
        """Return a verifier of anybody's envelopes, which worker processes can open again.

        The trust root and the policy are read once, now.
        """
        return corpus.PolicyJudge(self.trust(), self.policy())

    def own_verifier(self) -> trust_room.Verify:
        """Return a verifier of envelopes that are published under our own organisation.

        The trust root and the policy are read once, now.
        """
        root, policy = self.trust(), self.policy()

        def verify(envelope: bytes, traces: bytes | None) -> trust_room.Verdict:
            return trust_room.verify_envelope(
                envelope,
                trust=root,
                policy=policy,
                organisation=self.settings.organisation,
                traces=traces,
            )

        return verify

    def log_entry_url(self, position: trust_room.LogPosition) -> str | None:
        """Return the address of a page about a log entry; None when there is no such page."""
        if self.settings.log_viewer is not None:
            return self.settings.log_viewer.replace("{index}", str(position.index))
        return position.url
