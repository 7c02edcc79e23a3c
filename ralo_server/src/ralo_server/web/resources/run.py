"""The run itself: health, config, stats, stop."""

import attrs
import falcon

from ralo_server.rundir.secrets_removed import without_secrets
from ralo_server.web.responses.json_response import send_json
from ralo_server.web.services import Services


@attrs.frozen
class Health:
    """``GET /health``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer as soon as the server is up."""
        store = self.services.store
        response.media = {
            "status": "ok",
            "run": store.run.name(),
            "state": store.run.current(),
            "version": store.versions.newest_number(),
        }


@attrs.frozen
class ConfigDocument:
    """``GET /config``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give a worker everything it must know."""
        needed = self.services.settings["plugins"]
        plugins = {plugin["name"]: plugin for role in needed.values() for plugin in role}
        response.media = {
            "run": self.services.store.run.name(),
            "config": self.services.config.data,
            "plugins": list(plugins.values()),
        }


@attrs.frozen
class RunConfig:
    """``GET /run/config``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the config to those who look at the run, without what must stay secret."""
        settings = self.services.settings
        document = {
            "run": self.services.store.run.name(),
            "recipe": settings["recipe"],
            "config": without_secrets(settings["config"]),
            "sources": settings["sources"],
            "plugins": [
                {"name": info.name, "distribution": info.distribution, "version": info.version}
                for info in self.services.host.active()
            ],
        }
        send_json(request, response, document)


@attrs.frozen
class Stats:
    """``GET /stats``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the whole state of the run."""
        response.content_type = falcon.MEDIA_JSON
        response.text = self.services.stats.now()


@attrs.frozen
class Stop:
    """``POST /stop``."""

    services: Services

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Start draining."""
        response.media = {"state": self.services.store.run.request_stop()}
