from __future__ import annotations

from serve.routing.choose import choose
from serve.routing.published import Published, read_stats
from serve.routing.view import TRUST_S, RouterView


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def route(view: RouterView, model: str) -> tuple[str, str]:
    wish = view.wish(model=model, session=None, prefix=None)
    choice = choose(view.replicas(), wish)
    view.sent(wish, choice)
    return choice.replica, choice.why


def test_a_replica_is_taken_to_have_what_was_sent_to_it_until_its_news_must_say_so() -> None:
    clock = Clock()
    view = RouterView(clock=clock)
    view.see({"r1": None, "r2": None})
    home, why = route(view, "ropes")
    assert why == "home"
    assert route(view, "ropes") == (home, "hit")
    clock.now += TRUST_S + 1
    view.see({"r1": Published(beat=1), "r2": Published(beat=1)})
    assert route(view, "ropes") == (home, "home")


def test_news_count_once_and_a_replica_that_is_gone_is_forgotten() -> None:
    view = RouterView(clock=Clock())
    news = {"r1": Published(beat=1, queue=7, capacity=9), "r2": Published(beat=1, queue=0, capacity=9)}
    view.see(news)
    assert route(view, "a")[0] == "r2"
    assert route(view, "b")[0] == "r2"
    view.see(news)
    queues = {replica.name: replica.queue for replica in view.replicas()}
    assert queues == {"r1": 6.0, "r2": 1.0}
    view.see({"r2": Published(beat=2, queue=2, capacity=9)})
    assert [(replica.name, replica.queue) for replica in view.replicas()] == [("r2", 2.0)]


def test_names_without_an_adapter_have_no_home() -> None:
    view = RouterView(clock=Clock())
    view.see({"r1": Published(beat=1, plain=frozenset({"base"}))})
    assert view.wish(model="base", session="s", prefix=None).model is None
    assert view.wish(model="ropes", session=None, prefix=None).model == "ropes"


def test_the_share_of_a_models_traffic_is_known() -> None:
    view = RouterView(clock=Clock())
    view.see({"r1": None, "r2": None})
    route(view, "a")
    assert view.wish(model="a", session=None, prefix=None).share == 0.05
    for model in ("a", "a", "b", "a") * 10:
        route(view, model)
    assert round(view.wish(model="a", session=None, prefix=None).share, 2) == 0.76


def test_news_survive_serves_stats() -> None:
    news = Published(beat=3, models=frozenset({"a"}), plain=frozenset({"base"}), queue=2, capacity=5, ready=False)
    assert read_stats({**news.as_stats(), "kv": 1}) == news
    assert read_stats({}) is None
