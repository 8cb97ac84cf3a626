"""
A fake of Grafana's HTTP API: folders, dashboards, tokens of service accounts.

    async with FakeGrafana() as grafana:
        grafana.url, grafana.token   # what a client is given
        grafana.dashboards           # the stored dashboards, by uid
        grafana.next(unchanged)      # the fault of the next request

Made from its documentation, not recorded.
"""

from typing import Any

from tests import grafana_validator
from tests.fake_http import FakeService, ReceivedRequest, Reply

FIELDS = {"dashboard", "folderUid", "message", "overwrite"}


class FakeGrafana(FakeService):
    """A Grafana with an editor's token, and one of a viewer."""

    token, viewer = "glsa_editor", "glsa_viewer"

    def __init__(self) -> None:
        super().__init__()
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.provisioned: set[str] = set()
        """The uids of dashboards that come from files."""

    def respond(self, request: ReceivedRequest) -> Reply:
        """Do what the real service does."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown not in {self.token, self.viewer}:
            return Reply.json({"message": "Invalid API key"}, 401)
        if request.method == "GET":
            return self._get(request.path)
        if shown == self.viewer:
            return Reply.json({"message": "You'll need additional permissions to perform this action."}, 403)
        if request.path == "/api/folders":
            return self._folder(request.json)
        if request.path == "/api/dashboards/db":
            return self._save(request.json)
        return Reply.json({"message": "Not found"}, 404)

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Answer as if it was stored."""
        uid = request.json.get("dashboard", {}).get("uid", "")
        return Reply.json({"id": 1, "uid": uid, "url": f"/d/{uid}/x", "status": "success", "version": 1, "slug": "x"})

    def _get(self, path: str) -> Reply:
        found = self.dashboards.get(path.removeprefix("/api/dashboards/uid/"))
        return Reply.json(
            {"dashboard": found, "meta": {}} if found else {"message": "Dashboard not found"}, 200 if found else 404
        )

    def _folder(self, body: dict[str, Any]) -> Reply:
        if body["uid"] in self.folders:
            return Reply.json({"message": "the folder has been changed by someone else"}, 412)
        self.folders[body["uid"]] = body["title"]
        return Reply.json({"id": 1, **body})

    def _save(self, body: dict[str, Any]) -> Reply:
        self.mistakes += [f"unknown field {name}" for name in set(body) - FIELDS]
        dashboard = body["dashboard"]
        self.mistakes += grafana_validator.mistakes(dashboard)
        if body.get("folderUid") not in self.folders:
            return Reply.json({"message": "folder not found"}, 404)
        uid = dashboard["uid"]
        if uid in self.provisioned:
            return Reply.json({"message": "Cannot save provisioned dashboard"}, 400)
        if uid in self.dashboards and not body.get("overwrite"):
            return Reply.json({"message": "changed by someone else", "status": "version-mismatch"}, 412)
        version = self.dashboards.get(uid, {}).get("version", 0) + 1
        self.dashboards[uid] = {**dashboard, "id": 1, "version": version}
        return Reply.json(
            {"id": 1, "uid": uid, "url": f"/d/{uid}/x", "status": "success", "version": version, "slug": "x"}
        )
