"""Commands about sign-ins at providers: clients, signing in and out, renewing a token now.

A sign-in that is begun is remembered here, by the hash of its state, until its provider has sent
the person back. What is stored is the keeper's form; whoever is asked, is asked by its process.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import msgspec

from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound, ProviderFailed
from bg_charm_service.domain.model import CharmRef, FieldKind, FieldSchema
from bg_charm_service.domain.oauth import (
    LONGEST_TOKEN,
    OAuthClient,
    Provider,
    SignInKey,
    advice_of,
    asked_scopes,
    check_endpoint,
    check_name,
    discovered,
    fingerprint,
    integration_of,
    metadata_urls,
    obtained_at,
    read_answer,
    refresh_token_of,
    scopes_of,
    shown_user,
    token_of,
    with_user,
)
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.views import ClientView, PendingSignIn, SignInLink, SignInView
from bg_charm_service.service.commands.context import ACTOR, CommandContext
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.service.token_keeper import Client, TokenKeeper
from bg_charm_service.sign_in.messages import (
    AnswerKind,
    Authorize,
    Deed,
    Discover,
    Exchange,
    ProviderAnswer,
    Revoke,
)
from bg_charm_service.sign_in.provider_client import AsksProviders
from bg_charm_service.sign_in.providers import shipped_providers
from bg_charm_service.storage.records import CharmRecord, SignInRecord, StoredClient

#: A person has so long to sign in, in seconds.
LOGIN_SECONDS = 600.0

#: So many sign-ins may be under way; the oldest goes.
_MOST_LOGINS = 100

#: An id and a secret of a client may be so long.
_LONGEST_CLIENT = 2000

#: Charms of a space are looked through in pages of so many.
_PAGE = 500


@dataclass(frozen=True, slots=True, repr=False)
class _Login:
    """A sign-in that a person has begun."""

    key: SignInKey
    ref: CharmRef
    provider: str
    redirect_uri: str
    scopes: tuple[str, ...]
    verifier: str
    until: float
    actor: str


class SignInCommands:
    """What signs people in and out at providers."""

    def __init__(
        self,
        context: CommandContext,
        polling: PollingCommands,
        keeper: TokenKeeper,
        providers: AsksProviders,
        public_url: str,
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._store = context.store
        self._polling = polling
        self._keeper = keeper
        self._providers = providers
        self._public_url = public_url.rstrip("/")
        self._logins: dict[str, _Login] = {}

    # The operator's clients.

    async def set_client(
        self, name: str, client_id: str, client_secret: str, issuer: str = ""
    ) -> ClientView:
        """Keep what is registered at a provider; one that is not shipped is asked by its issuer."""
        check_name(name)
        for member, text in (("client_id", client_id), ("client_secret", client_secret)):
            if len(text) > _LONGEST_CLIENT or not text.isascii() or not text.isprintable():
                raise InvalidInput(f"{member}: That is none.")
        if not client_id.strip():
            raise InvalidInput("client_id: Give the id that the provider has given out.")
        description = b""
        if issuer:
            description = msgspec.json.encode(await self._discover(name, issuer))
        elif name not in shipped_providers():
            raise InvalidInput(
                f"{name} is no provider that the service knows ({', '.join(shipped_providers())}): "
                "give --issuer URL, where it describes itself."
            )
        client = OAuthClient(client_id.strip(), client_secret.strip())
        with self._context.change("set client", detail=name):
            now = self._parts.clock.now()
            self._store.sign_ins.put_client(StoredClient(name, description, client), now)
            for record in self._store.sign_ins.all():
                # What was wrong may have been the client.
                if record.provider == name and record.problem:
                    self._store.sign_ins.put(msgspec.structs.replace(record, problem=""))
                    self._keeper.forget_lately(record.key)
                    self._parts.switch.sign_in(record.key.charm_key, (record.key.field,))
        self._context.supervisor.wake()
        return self._client_view(name)

    def remove_client(self, name: str) -> None:
        """Forget the client at a provider: tokens that are good stay so, and none is renewed."""
        with self._context.change("remove client", detail=name):
            if not self._store.sign_ins.drop_client(name):
                raise NotFound(f"There is no client of {name}. See `bg-charm-service auth list`.")

    def clients(self) -> list[ClientView]:
        """The providers that people can sign in at."""
        return [self._client_view(name) for name in self._store.sign_ins.clients()]

    def _client_view(self, name: str) -> ClientView:
        return ClientView(name, self._at(name).provider.shown, self._redirect_uri(name))

    async def _discover(self, name: str, issuer: str) -> Provider:
        urls = metadata_urls(issuer)
        answer = await self._ask(Discover(urls))
        return discovered(name, issuer, json.loads(answer.body))

    # Signing in.

    async def begin(
        self, provider: str, space: str, charm: str = "", field: str = ""
    ) -> SignInLink:
        """Begin to sign in for a charm of a space; gives the address that the person goes to.

        Without a charm it is the one of the space that wants such a sign-in. Raises InvalidInput,
        NotFound, Conflict.
        """
        self._context.check_open()
        at = self._at(provider)
        record, declared = self._wanting(provider, space, charm, field)
        redirect_uri = self._redirect_uri(provider)
        try:
            check_endpoint(redirect_uri, "API_URL")
        except InvalidInput:
            raise Conflict(
                f"A provider sends nobody back to {redirect_uri}: set API_URL to an address of "
                "this service that begins with https://, or to http://localhost:8000."
            ) from None
        scopes = asked_scopes(at.provider, declared.scopes)
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        answer = await self._ask(
            Authorize(at.provider, at.client, redirect_uri, scopes, state, verifier)
        )
        with self._context.change("begin sign-in", record.ref, detail=provider):
            pass
        now = self._parts.clock.steady()
        self._logins = {key: one for key, one in self._logins.items() if one.until > now}
        while len(self._logins) >= _MOST_LOGINS:
            del self._logins[next(iter(self._logins))]
        self._logins[_digest(state)] = _Login(
            SignInKey(record.charm_key, declared.name),
            record.ref,
            provider,
            redirect_uri,
            scopes,
            verifier,
            now + LOGIN_SECONDS,
            self._context.actor(),
        )
        return SignInLink(
            answer.url, record.ref.space, record.ref.charm_id, declared.name, LOGIN_SECONDS
        )

    async def finish_at(self, provider: str, address: str) -> SignInView:
        """Finish a sign-in by the address that its provider has sent the person to."""
        try:
            given = parse_qs(urlsplit(address.strip()).query, max_num_fields=20)
        except ValueError:
            given = {}
        state, code, error = (given.get(name, [""])[0] for name in ("state", "code", "error"))
        if not state:
            raise InvalidInput(
                "That is no address that a provider sends people back to: it has no state. Copy "
                "the whole address from the browser, as it stands after signing in."
            )
        return await self.finish(provider, state, code, error)

    def pending(self, provider: str, state: str) -> PendingSignIn:
        """Tell a person for what they have signed in; raises InvalidInput where that is over."""
        login = self._begun(provider, state)
        charm = self._context.charm(login.ref)
        return PendingSignIn(
            login.ref.space,
            self._space_name(charm),
            login.ref.charm_id,
            charm.name,
            login.key.field,
            provider,
            login.actor,
            login.scopes,
        )

    def _begun(self, provider: str, state: str) -> _Login:
        """Find a sign-in that was begun."""
        login = self._logins.get(_digest(state))
        if login is None or login.provider != provider:
            raise InvalidInput("This sign-in was not begun here, or is over: begin it again.")
        if login.until < self._parts.clock.steady():
            del self._logins[_digest(state)]
            raise InvalidInput("This sign-in took too long: begin it again.")
        return login

    async def finish(self, provider: str, state: str, code: str, error: str = "") -> SignInView:
        """Finish a sign-in: exchange its code, keep the tokens, and have the charm polled."""
        login = self._begun(provider, state)
        del self._logins[_digest(state)]
        if error or not code:
            shown = error if error.isascii() and error.isprintable() and len(error) < 100 else ""
            shown += _advice(provider, error, login.redirect_uri)
            raise InvalidInput(f"The provider has not signed you in: {shown or 'no code came'}.")
        if len(code) > LONGEST_TOKEN:
            raise InvalidInput("That is no code of a provider.")
        at = self._at(provider)
        moment = self._parts.clock.now()
        answer = await self._ask(
            Exchange(at.provider, at.client, login.redirect_uri, code, login.verifier)
        )
        body = json.loads(answer.body)
        answered_at = self._parts.clock.now()
        found = read_answer(body, asked_at=moment, answered_at=answered_at, scopes=login.scopes)
        if found is None:
            raise ProviderFailed(f"{answer.host} answered without a token.")
        user = json.loads(answer.user) if answer.user else None
        stored = with_user(found.stored, at.provider, user)
        self._keep(login, stored, found.expires_at, obtained_at(moment, answered_at))
        self._context.supervisor.wake()
        return self._view(self._store.sign_ins.get(login.key))

    def _keep(self, login: _Login, stored: bytes, expires_at: float, since: float) -> None:
        """Keep a sign-in, let those run who waited for it, and have its charm polled."""
        # Its provider has sent somebody here; who began it was known.
        ACTOR.set(login.actor)
        with self._context.change("sign in", login.ref, detail=login.provider):
            charm = self._context.charm(login.ref)
            declared = charm.schema.field(login.key.field)
            if declared is None or declared.kind is not FieldKind.OAUTH:
                raise Conflict(f"{login.ref} has no sign-in {login.key.field} any more.")
            self._store.cells.write(charm, login.key.field, stored)
            refresh_hash = fingerprint(refresh_token_of(stored))
            self._store.sign_ins.put(
                SignInRecord(login.key, login.provider, expires_at, since, refresh_hash)
            )
            self._keeper.forget_lately(login.key)
            is_registered = self._store.registrations.find(charm.charm_key, login.ref) is not None
            if charm.updater is not None and not is_registered:
                shipped = shipped_providers().get(login.provider)
                label = integration_of(shipped, declared.scopes) if shipped is not None else ""
                label = label or "manual"
                self._context.record("register", login.ref, detail=label)
                self._polling.put_registration(charm, label)
            self._parts.switch.sign_in(login.key.charm_key, (login.key.field,))
            self._context.tell(login.ref, "state")

    # What there is.

    def list_sign_ins(self) -> list[SignInView]:
        """Every sign-in, without its tokens."""
        return [self._view(record) for record in self._store.sign_ins.all()]

    def of_charm(self, ref: CharmRef) -> list[SignInView]:
        """The sign-ins that a charm has, or wants to have; not those that it has links to."""
        charm = self._context.charm(ref)
        links = {link.field for link in self._store.links.of(charm.charm_key)}
        found = []
        for field in charm.schema.fields:
            if field.kind is FieldKind.OAUTH and field.name not in links:
                key = SignInKey(charm.charm_key, field.name)
                record = self._store.sign_ins.get(key)
                missing = SignInView(
                    ref.space,
                    self._space_name(charm),
                    ref.charm_id,
                    charm.name,
                    field.name,
                    field.provider,
                )
                found.append(self._view(record) if record else missing)
        return found

    async def refresh(self, ref: CharmRef, field: str, provider: str) -> SignInView:
        """Renew a token now. Raises InvalidInput where somebody has to sign in, ProviderFailed."""
        key = self._owned(ref, field, provider)
        self._context.check_open()
        with self._context.change("renew token", ref, detail=key.field):
            pass
        ending = await self._keeper.refresh_now(key)
        if ending is not None:
            kind = Conflict if ending.kind is EndingKind.SIGN_IN else ProviderFailed
            raise kind(f"The token was not renewed: {ending.why}.")
        return self._view(self._store.sign_ins.get(key))

    async def log_out(self, ref: CharmRef, field: str, provider: str) -> bool:
        """Forget a sign-in, and give its token back; says whether the provider took it."""
        key = self._owned(ref, field, provider)
        charm = self._context.owned_charm(ref)
        record, cell = self._store.sign_ins.get(key), self._store.cells.read(charm, key.field)
        stored = (cell.value if cell is not None else None) or b""
        with self._context.change("sign out", ref, detail=key.field):
            self._store.cells.drop(charm.charm_key, key.field)
            self._store.sign_ins.drop(key)
            self._keeper.forget_lately(key)
            self._context.tell(ref, "state")
        at = self._keeper.client(record.provider) if record is not None else None
        if at is None or not at.provider.revoke_url or not stored:
            return False
        token = refresh_token_of(stored) or token_of(stored)
        answer = await self._providers.ask(Revoke(at.provider, at.client, token))
        return answer.kind is AnswerKind.DONE

    def _owned(self, ref: CharmRef, field: str, provider: str) -> SignInKey:
        """Find a sign-in; without a field that of the charm at the provider."""
        charm = self._context.owned_charm(ref)
        for declared in charm.schema.fields:
            key = SignInKey(charm.charm_key, declared.name)
            is_meant = declared.kind is FieldKind.OAUTH and field in ("", declared.name)
            record = self._store.sign_ins.get(key) if is_meant else None
            if record is not None and record.provider == provider:
                return key
        raise NotFound(
            f"Nobody has signed in at {provider} for {ref}. See `bg-charm-service auth list`."
        )

    def _at(self, provider: str) -> Client:
        check_name(provider)
        at = self._keeper.client(provider)
        if at is None:
            raise NotFound(
                f"There is no client of {provider}: register one there, and give it to the "
                f"service with `bg-charm-service auth client {provider}`."
            )
        return at

    def _redirect_uri(self, provider: str) -> str:
        return f"{self._public_url}/api/integrations/{provider}-oauth/callback"

    def _wanting(
        self, provider: str, space: str, charm: str, field: str
    ) -> tuple[CharmRecord, FieldSchema]:
        """Find the field that is to be signed in for."""
        found = self._context.known_space(space)
        self._context.check_owner(found.space_key, found.name or found.did)
        if charm:
            charms = [self._context.charm(self._context.resolve(found.did, charm))]
        else:
            charms = self._charms_of(found.did)
        wanting = [
            (one, declared)
            for one in charms
            for declared in one.schema.fields
            if declared.kind is FieldKind.OAUTH
            and declared.provider == provider
            and field in ("", declared.name)
            and declared.name not in {link.field for link in self._store.links.of(one.charm_key)}
        ]
        if not wanting:
            raise NotFound(
                f"No charm there has a sign-in at {provider}: a class has one as "
                f'`auth: OAuth["{provider}", "SCOPE"]`.'
            )
        if len(wanting) > 1:
            named = ", ".join(f"{one.cause} ({declared.name})" for one, declared in wanting[:5])
            raise InvalidInput(
                f"Several charms there want a sign-in at {provider}: {named}. Say which one: "
                "--charm CHARM, and --field FIELD."
            )
        return wanting[0]

    def _charms_of(self, did: str) -> list[CharmRecord]:
        found: list[CharmRecord] = []
        after = 0
        while charms := self._store.charms.page(space=did, after=after, limit=_PAGE):
            found += [
                one
                for one in charms
                if any(declared.kind is FieldKind.OAUTH for declared in one.schema.fields)
            ]
            after = charms[-1].charm_key
        return found

    async def _ask(self, deed: Deed) -> ProviderAnswer:
        """Ask a provider; raises InvalidInput what it refuses, ProviderFailed for no answer."""
        answer = await self._providers.ask(deed)
        if answer.kind is AnswerKind.REFUSED:
            advice = ""
            if isinstance(deed, Exchange):
                advice = _advice(deed.provider.name, answer.error, deed.redirect_uri)
            raise InvalidInput(f"The provider refuses: {answer.why}{advice}.")
        if answer.kind is not AnswerKind.DONE:
            raise ProviderFailed(f"The provider cannot be asked now: {answer.why}.")
        return answer

    def _space_name(self, charm: CharmRecord) -> str:
        space = self._store.spaces.get(charm.space_key)
        return space.name if space is not None else ""

    def _view(self, record: SignInRecord | None) -> SignInView:
        if record is None:
            raise NotFound("This sign-in is there no more.")
        charm = self._store.charms.get(record.key.charm_key)
        if charm is None:
            raise NotFound("Its charm is there no more.")
        cell = self._store.cells.read(charm, record.key.field)
        stored = (cell.value if cell is not None else None) or b""
        return SignInView(
            charm.ref.space,
            self._space_name(charm),
            charm.ref.charm_id,
            charm.name,
            record.key.field,
            record.provider,
            is_signed_in=not record.problem,
            user=shown_user(stored),
            scopes=scopes_of(stored),
            expires_at=record.expires_at,
            obtained_at=record.obtained_at,
            problem=record.problem,
        )


def _advice(provider: str, error: str, redirect_uri: str) -> str:
    """What to do about a provider's word for a refusal, while somebody signs in."""
    if error == "invalid_grant":
        # There is no sign-in yet that could have ended.
        return ": its code is used up, or too old: begin the sign-in again"
    return advice_of(shipped_providers().get(provider), error, redirect_uri)


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()
