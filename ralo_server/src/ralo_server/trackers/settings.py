"""The settings of the trackers: apart from them, so that checking a config imports none of them."""

import attrs

from ralo_core.config.checks import one_of
from ralo_core.config.setting import setting


@attrs.frozen(kw_only=True)
class WandbSettings:
    """``[trackers.wandb]``. The key is WANDB_API_KEY, or what ``wandb login`` has stored."""

    mode: str = setting(
        "online",
        "'online', or 'offline': files in the run directory, sent later by 'wandb sync'",
        one_of("online", "offline"),
    )
    project: str = setting("ralo", "project that the run belongs to")
    entity: str = setting("", "user or team; empty: the user's default")
    name: str = setting("", "name that is shown; empty: the name of the run directory")
    group: str = setting("", "group of runs that belong together; empty: none")
    tags: list[str] = setting([], "tags of the run")


@attrs.frozen(kw_only=True)
class TensorboardSettings:
    """``[trackers.tensorboard]``."""

    folder: str = setting(
        "tensorboard", "where event files are written; relative: below the run directory"
    )
