"""The cost of what people do all day: `make bench` prints one line per figure, `name value unit`.

Each figure is the middle of several runs: CPU of this process, wall time, time inside the database
driver, and the number of SQL statements. Timings on a shared machine are noisy: compare lines of one
run with each other, the list at 1,000 clients with the list at 100,000.
"""

import argparse
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event

from admin_views.commands import session_for
from admin_views.extensions import db
from models import access, seeding
from models.clients import Client
from tests.admin_views.conftest import Browser, load_demo, make_app
from tests.cast import WANG, ZHAO
from tests.postgres import fresh_database, private_cluster

SIZES = (1_000, 100_000)
RUNS = 7


@dataclass
class Cost:
    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    database_ms: float = 0.0
    statements: int = 0


@contextmanager
def measured(engine: sa.Engine) -> Iterator[Cost]:
    """The cost of the block; statements are counted on *engine*."""
    cost, begun = Cost(), [0.0]

    def before(*_: Any) -> None:
        cost.statements += 1
        begun[0] = time.perf_counter()

    def after(*_: Any) -> None:
        cost.database_ms += (time.perf_counter() - begun[0]) * 1000

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield cost
    finally:
        cost.cpu_ms, cost.wall_ms = (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def report(name: str, costs: list[Cost]) -> None:
    for what, unit in (("cpu_ms", "ms"), ("wall_ms", "ms"), ("database_ms", "ms"), ("statements", "statements")):
        middle = statistics.median(getattr(c, what) for c in costs)
        print(f"{name}.{what.removesuffix('_ms')} {middle:.1f} {unit}", flush=True)


class Bench:
    """One filled database behind one app."""

    def __init__(self, name: str, app: Flask) -> None:
        self.name, self.app = name, app
        self.wang, self.zhao = Browser(app, WANG), Browser(app, ZHAO)
        with app.app_context():
            self.engine = db.engine
            with session_for("bench") as session:
                ids = session.scalars(sa.select(Client.id).order_by(Client.id)).all()
                self.middle, self.clients = ids[len(ids) // 2], len(ids)

    def time(self, what: str, do: Callable[[int], Any], runs: int = RUNS) -> None:
        costs = []
        for run in range(-1, runs):
            with measured(self.engine) as cost:
                answer = do(run)
                assert answer.status_code in {200, 302}, f"{what}: {answer.status_code}"
                size = len(answer.get_data())
            if run >= 0:  # the first one warms caches
                costs.append(cost)
        report(f"{self.name}.{what}", costs)
        del size

    def run(self) -> None:
        from admin_views import listing

        cursor = _cursor_at(self.middle)
        print(f"{self.name}.clients {self.clients} rows")
        self.time("list_first_page", lambda _: self.wang.get("/admin/client/"))
        self.time("list_first_page_of_a_branch", lambda _: self.zhao.get("/admin/client/"))
        self.time("list_page_at_the_middle", lambda _: self.wang.get(f"/admin/client/?after={cursor}"))
        self.time("list_sorted_by_name", lambda _: self.wang.get("/admin/client/?sort=name"))
        self.time("search_rare", lambda _: self.wang.get("/admin/client/?search=zhangxiaoli"))
        self.time("search_common", lambda _: self.wang.get("/admin/client/?search=张"))
        self.time("edit_form", lambda _: self.wang.get(f"/admin/client/edit/?id={self.middle}"))
        self.time("save", self._save)
        self.time("import_10000", self._import, runs=1)
        self.time("export_csv", lambda _: self.wang.get("/admin/client/export/csv/"), runs=1)
        del listing

    def _save(self, run: int) -> Any:
        with self.app.app_context(), session_for("bench") as session:
            version = session.get(Client, self.middle).version  # type: ignore[union-attr]
        data = {"version": version, "occupation": f"职业{run}"}
        return self.wang.post(f"/admin/client/edit/?id={self.middle}", data)

    def _import(self, run: int) -> Any:
        """Upload, map and apply ten thousand new clients."""
        import re

        lines = ["客户编号,姓名,业务线,电话,所属分店"]
        lines += [f"B{run + 1}-{n:05d},测试{n},postpartum,1380{n:07d},SH01" for n in range(10_000)]
        sent = io.BytesIO("\n".join(lines).encode())
        page = self.wang.post(
            "/admin/client/import/", {"file": (sent, "clients.csv")}, content_type="multipart/form-data"
        )
        assert page.status_code == 302, page.status_code
        token = re.search(r"file=([^&]+)", page.headers["Location"]).group(1)  # type: ignore[union-attr]
        mapped = {
            "file": token,
            "map.0": "file_no",
            "map.1": "name",
            "map.2": "line",
            "map.3": "phone",
            "map.4": "branch",
        }
        preview = self.wang.post("/admin/client/import/map/", mapped)
        assert preview.status_code == 200, preview.text[-2000:]
        digest = re.search(r'name="digest" value="(\w+)"', preview.text).group(1)  # type: ignore[union-attr]
        return self.wang.post("/admin/client/import/apply/", {**mapped, "digest": digest})


def _cursor_at(pk: int) -> str:
    import base64
    import json

    return base64.urlsafe_b64encode(json.dumps([pk]).encode()).decode().rstrip("=")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--databases", default="sqlite,postgres")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kanghu-bench-"))
    try:
        with private_cluster() as cluster:
            for kind in asked.databases.split(","):
                for size in map(int, asked.sizes.split(",")):
                    place = folder / f"{kind}-{size}"
                    place.mkdir()
                    url = f"sqlite:///{place / 'kanghu.db'}" if kind == "sqlite" else fresh_database(cluster)
                    app = make_app(url, place)
                    load_demo(app)
                    with app.app_context(), session_for("bench") as session:
                        started = time.process_time()
                        seeding.make_clients(session, size)
                        session.commit()
                        print(f"{kind}.{size}.fill.cpu {time.process_time() - started:.1f} s", flush=True)
                        if kind != "sqlite":
                            _analyze()
                    Bench(f"{kind}.{size}", app).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _analyze() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


if __name__ == "__main__":
    main()

__all__ = ["access"]
