"""The run itself: health, config, stats, stop."""

import attrs
import falcon

from ralo_core.messages import run as messages
from ralo_core.messages.workers import PluginVersion, active_plugins
from ralo_core.structuring import structure, unstructure
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
        reply = messages.Health(
            status="ok",
            run=store.run.name(),
            state=store.run.current(),
            version=store.versions.newest_number(),
        )
        response.media = unstructure(reply)


@attrs.frozen
class ConfigDocument:
    """``GET /config``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give a worker everything it must know."""
        needed = self.services.settings["plugins"]
        plugins = {plugin["name"]: plugin for role in needed.values() for plugin in role}
        reply = messages.WorkerConfig(
            run=self.services.store.run.name(),
            config=self.services.config.data,
            plugins=structure(list(plugins.values()), tuple[PluginVersion, ...]),
        )
        response.media = unstructure(reply)


@attrs.frozen
class RunConfig:
    """``GET /run/config``."""

    services: Services

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Give the config to those who look at the run, without what must stay secret."""
        settings = self.services.settings
        reply = messages.RunConfig(
            run=self.services.store.run.name(),
            recipe=settings["recipe"],
            config=without_secrets(settings["config"]),
            sources=settings["sources"],
            plugins=active_plugins(self.services.host),
        )
        send_json(request, response, unstructure(reply))


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
        response.media = unstructure(messages.State(state=self.services.store.run.request_stop()))
