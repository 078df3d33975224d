"""`/api/v1/devices`: the registered devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from litestar import delete, get, patch, post
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.admin_api.context import ApiContext, Asked, labels_from
from fleetkey.admin_api.description import Attributes, Cursor, Limit, SerialPattern, Tags, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.http.openapi_bodies import described
from fleetkey.management import DECISIONS, BulkChange, DeviceFilter, DeviceSelection, InvalidRequestError
from fleetkey.management.schemas import (
    BulkAnswer,
    BulkBody,
    CountAnswer,
    DeviceAnswer,
    DeviceBody,
    DevicePage,
    RotationAnswer,
    RotationBody,
    TagsBody,
)
from fleetkey.registry import DeviceOrder, DeviceState, Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from fleetkey.admin_api.auth import Authorizer, Caller
    from fleetkey.management import Decision, Management

__all__ = ["device_handlers"]

BULK_PAGES = 25
"""How many pages of devices one bulk request handles; if there are more, the response has a cursor to continue from."""

Serial = Annotated[str | None, QueryParameter(description="Only the device with this serial.")]
Online = Annotated[
    bool | None, QueryParameter(description="Only devices that are connected (`true`) or not connected (`false`).")
]
Sort = Annotated[
    DeviceOrder | None,
    QueryParameter(description="By `serial`, newest first (`created`) or last seen first (`seen`). Default: by id."),
]
InState = Annotated[DeviceState | None, QueryParameter(name="state", description="Only devices in this state.")]
"""Not called `state` in the handler, because Litestar reserves that name."""
OPERATOR = {"role": Role.OPERATOR}
VIEWER = {"role": Role.VIEWER}


def device_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operations on devices."""
    return [*_looking(context), *_deciding(context), *_changing(context)]


def _looking(context: ApiContext) -> list[ControllerRouterHandler]:
    authorizer = context.authorizer

    @get("/devices", opt=VIEWER, responses=answers(200, DevicePage, "Devices, ordered by id"))
    async def list_devices(
        request: Asked,
        in_state: InState = None,
        tag: Tags = None,
        attribute: Attributes = None,
        serial: Serial = None,
        serial_pattern: SerialPattern = None,
        online: Online = None,
        sort: Sort = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List the devices that match all given filters."""
        wanted = DeviceFilter(
            state=in_state,
            tags=labels_from(tag, "tag"),
            attributes=labels_from(attribute, "attribute"),
            serial=serial,
            serial_pattern=serial_pattern,
            online=online,
            sort=sort,
        )
        answer = await answer_list(
            authorizer,
            request,
            lambda fleet, cursor, limit: fleet.devices.page(wanted, cursor=cursor, limit=limit),
            cursor=cursor,
            limit=limit,
        )
        # A page in several parts is never in memory as a whole, so it can't be cached.
        return authorizer.keep(request, answer) if isinstance(answer, Answer) else answer

    @get("/devices/count", opt=VIEWER, responses=answers(200, CountAnswer, "How many devices match"))
    async def count_devices(
        request: Asked,
        in_state: InState = None,
        tag: Tags = None,
        attribute: Attributes = None,
        serial: Serial = None,
        serial_pattern: SerialPattern = None,
        online: Online = None,
        cursor: Cursor = None,
    ) -> Answer:
        """Count the devices that match all given filters, or some of them: there may be a `next_cursor`."""
        wanted = DeviceFilter(
            state=in_state,
            tags=labels_from(tag, "tag"),
            attributes=labels_from(attribute, "attribute"),
            serial=serial,
            serial_pattern=serial_pattern,
            online=online,
        )
        return as_json(await authorizer.run(request, lambda fleet, _: fleet.devices.count(wanted, cursor=cursor)))

    @get("/devices/{device_id:str}", opt=VIEWER, responses=answers(200, DeviceAnswer, "The device", 404))
    async def show_device(request: Asked, device_id: FromPath[str]) -> Answer:
        """Show one device; its keys are at `/api/v1/keys?device_id=…`."""
        device = await authorizer.run(request, lambda fleet, _: fleet.devices.get(device_id))
        return authorizer.keep(request, as_json(device))

    return [list_devices, count_devices, show_device]


def _deciding(context: ApiContext) -> list[ControllerRouterHandler]:
    authorizer = context.authorizer

    @post(
        "/devices/bulk",
        status_code=200,
        opt=OPERATOR,
        operation_class=described(BulkBody),
        responses=answers(200, BulkAnswer, "The result of the bulk change", 404, 409, has_body=True),
    )
    async def change_devices(request: Asked) -> Answer:
        """Approve, reject, disable, enable, tag, rotate or delete devices: those named, or all that match.

        Give either `device_ids`, or any of `tags`, `attributes` and `serial_pattern`, all of which must then match.
        `set_tags` is only for `tag`, `grace_seconds` only for `rotate`.

        Of the devices that match, `approve` and `reject` change the pending ones, `enable` the disabled ones,
        `disable` the active and pending ones, and the other actions all of them. Named devices must all exist, or
        nothing is changed. Those in a state in which the action isn't possible are counted as `refused`, and the
        others are changed: a disabled one for `approve`, an active or disabled one for `reject`, one that was never
        approved for `enable`.

        With `dry_run`, nothing is changed: the response says how many devices would be, and names the first ones.

        One request changes up to a few thousand devices. If the response has a `next_cursor`, there are more: repeat
        the request with it as `cursor` until it is null. Devices changed before an error stay changed.
        """
        body = await context.body(request, BulkBody)
        selection = DeviceSelection(
            device_ids=body.device_ids,
            tags=body.tags,
            attributes=body.attributes,
            serial_pattern=body.serial_pattern,
        )
        change = BulkChange(
            action=body.action,
            set_tags=body.set_tags,
            grace_seconds=body.grace_seconds,
            is_dry_run=body.dry_run,
        )
        result = await authorizer.run(
            request,
            lambda fleet, caller: fleet.devices.change_many(
                change, selection, actor=caller.actor, cursor=body.cursor, max_pages=BULK_PAGES
            ),
        )
        return as_json(result)

    return [*(_decision(authorizer, decision) for decision in DECISIONS.values()), change_devices]


def _decision(authorizer: Authorizer, decision: Decision) -> ControllerRouterHandler:
    async def decide(request: Asked, device_id: FromPath[str]) -> Answer:
        device = await authorizer.run(
            request, lambda fleet, caller: fleet.devices.decide(decision, device_id, actor=caller.actor)
        )
        return as_json(device)

    # The operation's name and text in the OpenAPI description.
    decide.__name__, decide.__doc__ = f"{decision.action}_device", decision.description
    return post(
        f"/devices/{{device_id:str}}/{decision.path}",
        status_code=200,
        opt={"role": decision.role},
        responses=answers(200, DeviceAnswer, "The device", 404, 409),
    )(decide)


def _changing(context: ApiContext) -> list[ControllerRouterHandler]:
    authorizer = context.authorizer

    @delete("/devices/{device_id:str}", status_code=204, opt=OPERATOR, responses=answers(204, None, "Forgotten", 404))
    async def delete_device(request: Asked, device_id: FromPath[str]) -> None:
        """Delete a device and retire its keys; its serial may register as a new device."""
        await authorizer.run(request, lambda fleet, caller: fleet.devices.delete(device_id, actor=caller.actor))

    @patch(
        "/devices/{device_id:str}",
        opt=OPERATOR,
        operation_class=described(DeviceBody),
        responses=answers(200, DeviceAnswer, "The device", 404, 409, has_body=True),
    )
    async def describe_device(request: Asked, device_id: FromPath[str]) -> Answer:
        """Set a device's name and attributes; an attribute that is null is removed."""
        body = await context.body(request, DeviceBody)
        if body.name is None and not body.attributes:
            raise InvalidRequestError("name", "nothing to set: give a name or attributes")

        def work(fleet: Management, caller: Caller) -> DeviceAnswer:
            return fleet.devices.describe(device_id, name=body.name, attributes=body.attributes, actor=caller.actor)

        return as_json(await authorizer.run(request, work))

    @patch(
        "/devices/{device_id:str}/tags",
        opt=OPERATOR,
        operation_class=described(TagsBody),
        responses=answers(200, DeviceAnswer, "The device", 404, 409, has_body=True),
    )
    async def tag_device(request: Asked, device_id: FromPath[str]) -> Answer:
        """Set a device's tags; a tag that is null is removed."""
        body = await context.body(request, TagsBody)
        device = await authorizer.run(
            request, lambda fleet, caller: fleet.devices.tag(device_id, body.tags, actor=caller.actor)
        )
        return as_json(device)

    @post(
        "/devices/{device_id:str}/rotate-keys",
        status_code=200,
        opt=OPERATOR,
        operation_class=described(RotationBody, is_required=False),
        responses=answers(200, RotationAnswer, "How many keys expire, and when", 404, has_body=True),
    )
    async def rotate_keys(request: Asked, device_id: FromPath[str]) -> Answer:
        """Expire a device's keys after a grace period, so that it registers again."""
        body = await context.optional_body(request, RotationBody)
        rotation = await authorizer.run(
            request,
            lambda fleet, caller: fleet.keys.rotate(device_id, grace_seconds=body.grace_seconds, actor=caller.actor),
        )
        return as_json(rotation)

    return [delete_device, describe_device, tag_device, rotate_keys]
