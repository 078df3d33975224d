"""What operators can do with a fleet: one service layer, used by both the command line and the HTTP API."""

from fleetkey.management.audit import AuditAction, AuditOutcome, AuditService
from fleetkey.management.bulk import MAX_EXAMPLES, BulkChange
from fleetkey.management.decisions import APPROVE, DECISIONS, DISABLE, ENABLE, REJECT, Decision
from fleetkey.management.devices import DeviceService
from fleetkey.management.errors import ConflictError, InvalidRequestError, ManagementError, SerialFileError
from fleetkey.management.explain import ExplainService
from fleetkey.management.filters import DeviceFilter, DeviceSelection, KeyFilter, SerialFilter
from fleetkey.management.keys import ApplicationKeyRequest, CreatedKey, KeyService, check_application_key
from fleetkey.management.losant_keys import LosantKey, LosantKeyAnswer, losant_answer, parse_losant_key
from fleetkey.management.management import Management, build_management
from fleetkey.management.pages import MAX_PAGE, EncodedPage, Page, PositionList, parse_position, position_cursor
from fleetkey.management.refusals import RefusalService, command_for
from fleetkey.management.serial_files import SerialFormat, read_serials
from fleetkey.management.serials import SerialService, prove_serial
from fleetkey.management.time_parsing import parse_expiry, parse_moment
from fleetkey.management.tokens import CreatedToken, TokenRefused, TokenService
from fleetkey.management.webhooks import WebhookService, find_webhook

__all__ = [
    "APPROVE",
    "DECISIONS",
    "DISABLE",
    "ENABLE",
    "MAX_EXAMPLES",
    "MAX_PAGE",
    "REJECT",
    "ApplicationKeyRequest",
    "AuditAction",
    "AuditOutcome",
    "AuditService",
    "BulkChange",
    "ConflictError",
    "CreatedKey",
    "CreatedToken",
    "Decision",
    "DeviceFilter",
    "DeviceSelection",
    "DeviceService",
    "EncodedPage",
    "ExplainService",
    "InvalidRequestError",
    "KeyFilter",
    "KeyService",
    "LosantKey",
    "LosantKeyAnswer",
    "Management",
    "ManagementError",
    "Page",
    "PositionList",
    "RefusalService",
    "SerialFileError",
    "SerialFilter",
    "SerialFormat",
    "SerialService",
    "TokenRefused",
    "TokenService",
    "WebhookService",
    "build_management",
    "check_application_key",
    "command_for",
    "find_webhook",
    "losant_answer",
    "parse_expiry",
    "parse_losant_key",
    "parse_moment",
    "parse_position",
    "position_cursor",
    "prove_serial",
    "read_serials",
]
