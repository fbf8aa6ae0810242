"""The wheel is for one kind of machine and every Python; auditwheel finds out which Linux it needs."""

import platform
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformTag(BuildHookInterface):
    """Says so to the builder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Set the tag, and take the executable into the package."""
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
        build_data["force_include"]["all_tasks"] = "invoice_platform/all_tasks"
