"""How a request is signed: a public path; the code is `api.auth.request_signing`."""

from bg_charm_service.api.auth.request_signing import SCHEME as SCHEME
from bg_charm_service.api.auth.request_signing import WINDOW_SECONDS as WINDOW_SECONDS
from bg_charm_service.api.auth.request_signing import RequestText as RequestText
from bg_charm_service.api.auth.request_signing import Signature as Signature
from bg_charm_service.api.auth.request_signing import authorization as authorization
from bg_charm_service.api.auth.request_signing import message as message
