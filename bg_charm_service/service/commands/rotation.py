"""The operator's identity: which one the service acts as, and the command that changes it."""

from __future__ import annotations

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import (
    COMMON_USER_PASSPHRASE,
    DEFAULT_PASSPHRASE,
    Identity,
    is_did,
    rotation_text,
    verify,
)
from bg_charm_service.service.commands.context import CommandContext


class OperatorCommands:
    """What concerns the operator's key."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._store = context.store

    @property
    def did(self) -> str:
        """The DID that the service acts as."""
        return self._context.operator

    def rotate(self, did: str, proof: bytes) -> str:
        """Give all that the operator owns to a new key of the operator's; gives the old DID.

        In one transaction: the spaces that it owns, and the data key of the secrets, sealed to the
        new key and no longer to the old one. `proof` is the new key's signature of
        `rotation_text`, so that nobody gives everything to a DID whose key is not there. From its
        commit on the service acts as the new identity.
        """
        old = self.did
        if not is_did(did):
            raise InvalidInput(f"Not a DID: {did:.100}. `bg-charm-service identity new` makes one.")
        if did == old:
            raise InvalidInput(f"{did} is the operator's identity already.")
        public = (DEFAULT_PASSPHRASE, COMMON_USER_PASSPHRASE)
        if did in {Identity.from_passphrase(each).did() for each in public}:
            raise InvalidInput(f"{did} is a key that everybody can compute. Take another.")
        if not verify(did, rotation_text(old, did), proof):
            raise InvalidInput(f"The proof was not made with the key of {did}.")
        with self._context.change("rotate identity", detail=f"{old} to {did}"):
            self._store.spaces.hand_over(old, did)
            self._store.secrets.hand_over(old, did)
            self._context.parts.database.after_commit(lambda: self._context.act_as(did))
        return old
