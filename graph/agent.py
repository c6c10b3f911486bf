"""The agent as others use it: ask a question, follow its run, or talk in a session."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from redis.asyncio import Redis

from graph.actions.confirming import Actions, open_actions
from graph.actions.handoffs import Handoffs
from graph.actions.mcp import Tools, open_tools
from graph.actions.reasons import read_phrases
from graph.builder import AgentGraph, build_graph
from graph.errors import RUN_ERRORS, ShuttingDown
from graph.events import Done, Event, Failed
from graph.models import Models, open_models
from graph.nodes.tools import Toolbox
from graph.observe.report import Observe
from graph.retrieval.index import open_knowledge
from graph.retrieval.served import Knowledge
from graph.runs.colleagues import Colleagues
from graph.runs.memory import Memory
from graph.runs.run import Engine, Run, end_runs
from graph.runs.sessions import Sessions, open_sessions
from graph.runs.states import States
from graph.runs.threads import Threads
from graph.settings import AgentSettings
from graph.state import AgentContext

_PATIENCE = 0.8  # of a turn's time, in which an action has to end if its turn is to say how


class SupportAgent:
    """Answers customers' questions; made by open_agent."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions | None,
        actions: Actions | None,
        models: Models,
        knowledge: Knowledge,
        tools: Tools,
        settings: AgentSettings,
        colleagues: Colleagues | None = None,
        states: States | None = None,
    ) -> None:
        self.contacts = knowledge.company.contacts
        """The company's own addresses."""
        self.observe = engine.observe
        """Gets the report of each run, and of whatever else answers a question."""
        self.knowledge = knowledge
        self.models = models
        self.tools = tools
        """Those of the MCP servers."""
        self._engine = engine
        self._asked = _asked(settings)
        self._sessions = sessions
        self._colleagues = colleagues
        self._states = states
        self._actions = actions
        self._running: set[Run] = set()
        self._draining = False

    @property
    def version(self) -> str:
        """Stands for all that an answer depends on at the moment, beside the question: prompts, articles, models."""
        return json.dumps([self.knowledge.prompt.version, self.knowledge.version, *self._asked])

    @property
    def versions(self) -> dict[str, str]:
        """What a trace says of the prompts and articles that are served."""
        return _versions(self.knowledge)

    @property
    def graph(self) -> AgentGraph:
        """The graph, as it runs outside any session."""
        return self._engine.graph

    @property
    def sessions(self) -> Sessions:
        """The conversations; raises AssertionError where the agent was opened without a Redis."""
        if self._sessions is None:
            raise AssertionError("the agent was opened without a Redis")
        return self._sessions

    @property
    def colleagues(self) -> Colleagues:
        """What the team does with conversations; raises AssertionError where the agent was opened without a Redis."""
        if self._colleagues is None:
            raise AssertionError("the agent was opened without a Redis")
        return self._colleagues

    @property
    def states(self) -> States:
        """The sessions' states, to read and to change; raises AssertionError where the agent has no Redis."""
        if self._states is None:
            raise AssertionError("the agent was opened without a Redis")
        return self._states

    @property
    def actions(self) -> Actions:
        """What is done when a customer confirms it; raises AssertionError where there are no sessions."""
        if self._actions is None:
            raise AssertionError("the agent was opened without a Redis")
        return self._actions

    def stream(self, question: str, context: AgentContext | None = None, budget: float | None = None) -> Run:
        """Start a run that belongs to no session, and return it; raises ShuttingDown.

        `budget` is the seconds that it may take, if not as many as configured.
        """
        if self._draining:
            raise ShuttingDown
        engine = replace(self._engine, budget=budget or self._engine.budget)
        run = Run(engine, question, context or AgentContext()).start()
        self._running.add(run)
        run.when_ended(lambda: self._running.discard(run))
        return run

    async def ask(self, question: str, context: AgentContext | None = None) -> Done:
        """Return the whole answer; raises RunError."""
        async with self.stream(question, context) as run:
            return await whole_answer(run.follow())

    async def drain(self, seconds: float) -> None:
        """Start no more runs; end those that are not done after `seconds` with ShuttingDown."""
        self._draining = True
        draining = [end_runs(tuple(self._running), seconds)]
        if self._sessions:
            draining.append(self._sessions.drain(seconds))
        if self._actions:
            draining.append(self._actions.drain(seconds))
        await asyncio.gather(*draining)


async def whole_answer(events: AsyncIterator[tuple[int, Event]]) -> Done:
    """Follow a run's events to their end and return the answer; raises RunError."""
    async for _, event in events:
        if isinstance(event, Failed):
            raise RUN_ERRORS[event.error]
        if isinstance(event, Done):
            return event
    raise AssertionError("a run ends with Done or Failed")


@asynccontextmanager
async def open_agent(
    settings: AgentSettings,
    redis: Redis | None = None,
    observe: Observe = lambda _: None,
    tools: Toolbox | None = None,
    threads: Threads | None = None,
) -> AsyncGenerator[SupportAgent]:
    """Connect to the model and the articles, whose index is built if there is none; raises StartError.

    The model need not be up: see `open_knowledge`. Sessions are kept in `redis`; without it there are none. `observe`
    gets the report of each run that has ended. `tools` are used in place of those of SUPPORT_MCP_SERVERS. `threads` is
    told of each turn.
    """
    settings.require()
    most = settings.session_messages
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(open_models(settings))
        knowledge = await stack.enter_async_context(open_knowledge(settings, models))
        servers = Tools() if tools else await stack.enter_async_context(open_tools(settings))
        toolbox = tools or servers
        acting = toolbox if tools or settings.mcp_servers else None
        sessions = actions = colleagues = states = None
        if redis is not None:
            read_phrases()
            handoffs = Handoffs(
                redis, settings.session_ttl, settings.handoff_timeout, is_received=settings.has_handoff_receiver
            )
            memory = Memory(redis, settings.session_ttl, handoffs)
            patience = settings.answer_timeout * _PATIENCE
            actions = await stack.enter_async_context(
                open_actions(redis, acting, patience=patience, keep=settings.session_ttl)
            )
            graph = build_graph(
                models,
                knowledge,
                most_messages=most,
                checkpointer=memory.checkpointer,
                tools=toolbox,
                actions=actions,
            )
            engine = Engine(graph, settings.answer_timeout, observe, partial(_versions, knowledge))
            sessions = await stack.enter_async_context(open_sessions(redis, memory, engine, settings, threads))
            colleagues = Colleagues(handoffs, memory, sessions.held, most)
            states = States(graph, memory, sessions.held, most, threads)
            actions.telling.tells = partial(colleagues.tell, lambda: knowledge.company.desks[0])
        graph = build_graph(models, knowledge, most_messages=most)
        engine = Engine(graph, settings.answer_timeout, observe, partial(_versions, knowledge))
        agent = SupportAgent(engine, sessions, actions, models, knowledge, servers, settings, colleagues, states)
        stack.push_async_callback(agent.drain, 0)
        yield agent


def _asked(settings: AgentSettings) -> list[str | None]:
    """Return which models are asked, and where."""
    return [
        settings.openai_base_url,
        settings.classify_model,
        settings.answer_model,
        settings.fallback_model,
        settings.embedding,
    ]


def _versions(knowledge: Knowledge) -> dict[str, str]:
    return {"prompt_version": knowledge.prompt.version, "knowledge_version": knowledge.version}
