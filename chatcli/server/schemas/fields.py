"""What the documents that clients send are made of."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chatcli.models import parse_time
from chatcli.service.requests import LONGEST_LANGUAGE

THREAD_ID = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$"
LINE = r"^[^\x00-\x1f\x7f]+$"
TEXT = r"^[^\x00]+$"
ANY_TEXT = r"^[^\x00]*$"
EVENT_NUMBER = r"^(-[12]|[0-9]{1,16})$"
PICTURE_LENGTH = 28 * 1024 * 1024
"""Characters of a picture as a URL: 20 MiB as the commands take them, in base64."""
MOST_PARTS = 256
_PICTURE = r"^data:image/[a-z0-9.+-]{1,40};base64,[A-Za-z0-9+/]+={0,2}$"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_MOMENT = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    rf"T{_CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_CLOCK})$"
)


class Asked(BaseModel):
    """A body of a request: nothing is converted, and nothing that is not known is taken."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """The parameters of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(Asked):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str = Field(pattern=TEXT)


class PictureUrl(Asked):
    """A picture itself, as a URL."""

    url: str = Field(pattern=_PICTURE, max_length=PICTURE_LENGTH)


class PicturePart(Asked):
    """A part of a message that is a picture."""

    type: Literal["image_url"]
    image_url: PictureUrl


def _check_moment(text: str) -> str:
    """Refuse days that no calendar has, and what lies outside of it in UTC."""
    try:
        parse_time(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such moment") from None
    return text


def read_moment(text: str) -> datetime:
    """Return a moment that was checked, in UTC."""
    return parse_time(text).astimezone(UTC)


Part: TypeAlias = Annotated[TextPart | PicturePart, Field(discriminator="type")]
Moment: TypeAlias = Annotated[
    str, Field(pattern=_MOMENT, max_length=32, description="RFC 3339."), AfterValidator(_check_moment)
]
ThreadId: TypeAlias = Annotated[
    str, Field(pattern=THREAD_ID, description="The thread; it is made where there is none.")
]
Language: TypeAlias = Annotated[
    str,
    Field(
        pattern=LINE,
        max_length=LONGEST_LANGUAGE,
        description="Language of the answers, kept with the thread.",
    ),
]
Model: TypeAlias = Annotated[
    str, Field(pattern=LINE, max_length=200, description="PROVIDER:MODEL or an alias.")
]
OnBusy: TypeAlias = Annotated[
    Literal["wait", "reject"],
    Field(description="What happens while another turn runs on the thread: wait for it, or 409 at once."),
]
