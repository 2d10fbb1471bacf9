"""Voice sessions."""

from vagus.contract.events.base import U8, U32, U64, Kind


class VoiceSessionStarted(Kind, frozen=True, kw_only=True):
    """A voice session is open."""

    voice_session_id: str
    adapter: str
    model: str
    sample_rate_hz: U32
    channels: U8


class VoiceInputChunk(Kind, frozen=True, kw_only=True):
    """Sound came in."""

    voice_session_id: str
    chunk_index: U64
    bytes: U64
    format: str


class VoiceOutputChunk(Kind, frozen=True, kw_only=True):
    """Sound went out."""

    voice_session_id: str
    chunk_index: U64
    bytes: U64
    format: str


class VoiceSessionStopped(Kind, frozen=True, kw_only=True):
    """A voice session is over."""

    voice_session_id: str
    reason: str


class VoiceAdapterError(Kind, frozen=True, kw_only=True):
    """A voice adapter failed."""

    voice_session_id: str
    message: str
