"""The pseudonymizer as the linker sees it: `linkage.rekeyed.KeyService` over a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import grpc

from kinlink.conversion_client import ConversionClient
from kinlink.errors import KinlinkError, from_rpc_error
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as pb
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceStub
from kinlink.pseudonyms import PSEUDONYM_KINDS, Kind
from kinlink.rekeying_client import RekeyingClient
from linker.linkage.rekeyed import Leaving

_ASKED_WITHIN_S = 5.0  # while a source waits
_FORMER = frozenset({pb.KEY_STATE_RETIRING, pb.KEY_STATE_DISABLED, pb.KEY_STATE_COMPROMISED})


class PseudonymizerKeys:
    """Implements `KeyService`."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._administration = KeyAdministrationServiceStub(channel)
        self.convert = ConversionClient(channel).convert
        rekeying = RekeyingClient(channel)
        self.rekey, self.attest = rekeying.rekey, rekeying.attest

    def keys(self, domain: str = "", timeout_s: float | None = None) -> Sequence[pb.KeyVersion]:
        """Return the keys that this linker may know of. Raises KinlinkError."""
        try:
            return self._administration.ListKeys(pb.ListKeysRequest(domain=domain), timeout=timeout_s).keys
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def leaving(self) -> Sequence[Leaving]:
        """Return the former primaries that have a successor, as the service lists them. Raises KinlinkError."""
        keys = self.keys()
        primaries = {(k.key.domain, k.key.kind): k.key.version for k in keys if k.state == pb.KEY_STATE_ACTIVE}
        return [
            Leaving(k.key.domain, kind, k.key.version, primary, retiring=k.state == pb.KEY_STATE_RETIRING)
            for k in keys
            if k.state in _FORMER and k.HasField("activated_at")
            if (kind := Kind.of_wire(k.key.kind))
            if k.key.version < (primary := primaries.get((k.key.domain, k.key.kind), 0))
        ]


def key_states(
    connect: Callable[[], AbstractContextManager[PseudonymizerKeys]], domain: str
) -> Mapping[tuple[str, int], bool] | None:
    """Return each key version of a domain, (kind, version), and whether what stands under it is taken in.

    Pseudonyms are while they can be converted, encodings while their key is handed out. None when the pseudonymizer is
    away.
    """
    try:
        with connect() as service:
            keys = service.keys(domain, _ASKED_WITHIN_S)
    except KinlinkError:
        return None
    usable = {pb.KEY_STATE_ACTIVE: tuple(Kind), pb.KEY_STATE_RETIRING: PSEUDONYM_KINDS}
    kinds = [(kind, k) for k in keys if (kind := Kind.of_wire(k.key.kind))]
    return {(kind.value, k.key.version): kind in usable.get(k.state, ()) for kind, k in kinds}
