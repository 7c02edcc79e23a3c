"""Open dashboards in one process: each listens to the events and asks again for what it shows."""

import threading
import time

import requests

NAMES = "reward,entropy,clip_fraction,mismatch_kl,staleness,response_tokens,grad_norm,step_seconds"
REFRESH_SECONDS = 5.0


def look_on(url: str, dashboards: int, seconds: float) -> int:
    """Keep so many dashboards open for `seconds`; return the events that they heard together."""
    heard, ending = [0] * dashboards, threading.Event()
    threads = [
        threading.Thread(target=target, args=(url, number, heard, ending), daemon=True)
        for number in range(dashboards)
        for target in (_listen, _refresh)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    ending.set()
    for thread in threads:
        thread.join(10)
    return sum(heard)


def _listen(url: str, number: int, heard: list[int], ending: threading.Event) -> None:
    with requests.get(f"{url}/events", stream=True, timeout=30) as answer:
        for line in answer.iter_lines(chunk_size=1 << 14):
            heard[number] += line.startswith(b"event:")
            if ending.is_set():
                return


def _refresh(url: str, number: int, heard: list[int], ending: threading.Event) -> None:
    """Ask for all series once, then for newer ones, and for the list of rollouts."""
    session, last = requests.Session(), 0
    while not ending.is_set():
        query = {"names": NAMES, "points": 400, "after": last}
        last = session.get(f"{url}/series", params=query, timeout=30).json()["last_step"]  # type: ignore[arg-type]
        session.get(f"{url}/rollouts", timeout=30).raise_for_status()
        session.get(f"{url}/eval/results", timeout=30).raise_for_status()
        ending.wait(REFRESH_SECONDS)
