"""Browser tests stand on the same demo houses as the tests of the views."""

from tests.admin_views.conftest import demo, demo_sqlite

__all__ = ["demo", "demo_sqlite"]
