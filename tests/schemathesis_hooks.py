"""What schemathesis cannot know of: it is loaded by it (SCHEMATHESIS_HOOKS)."""

from typing import Any

import schemathesis
from schemathesis import GenerationMode


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """A CSV is text to OpenAPI: no text that schemathesis makes up is held for a sound one."""
    is_sound = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    return not (case.media_type == "text/csv" and is_sound)
