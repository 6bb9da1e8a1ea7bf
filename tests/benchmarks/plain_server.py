"""The plain design: FastAPI, a LangGraph graph with InMemorySaver, and one JSON line for each chunk.

    python -m tests.benchmarks.plain_server PORT UPSTREAM_PORT

What one would write first from the documentation of the libraries, with nothing left out that they
do by themselves, and nothing tuned.
"""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel, SecretStr


class StreamRequest(BaseModel):
    """What a client asks for."""

    input: str
    thread_id: str | None = None
    model: str = "openai:burst-20"


def create_app(upstream: int) -> FastAPI:
    """Return the application."""
    models: dict[str, ChatOpenAI] = {}

    def model_of(name: str) -> ChatOpenAI:
        if name not in models:
            models[name] = ChatOpenAI(
                model=name.partition(":")[2],
                base_url=f"http://127.0.0.1:{upstream}/v1",
                api_key=SecretStr("sk-benchmark"),
                streaming=True,
                stream_usage=True,
            )
        return models[name]

    async def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, list[Any]]:
        model = model_of(config["configurable"]["model"])
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("call_model", call_model)
    builder.add_edge(START, "call_model")
    builder.add_edge("call_model", END)
    graph = builder.compile(checkpointer=InMemorySaver())

    async def answer(request: StreamRequest) -> AsyncIterator[str]:
        thread_id = request.thread_id or str(uuid4())
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "model": request.model}}
        messages: Any = {"messages": [HumanMessage(request.input)]}
        yield json.dumps({"type": "metadata", "thread_id": thread_id}) + "\n"
        async for chunk, _ in graph.astream(messages, config, stream_mode="messages"):
            if chunk.content:  # type: ignore[union-attr]
                line = {"type": "token", "content": chunk.content, "thread_id": thread_id}  # type: ignore[union-attr]
                yield json.dumps(line) + "\n"
        yield json.dumps({"type": "metadata", "thread_id": thread_id, "status": "completed"}) + "\n"

    async def stream(request: StreamRequest) -> StreamingResponse:
        return StreamingResponse(answer(request), media_type="application/x-ndjson")

    app = FastAPI()
    app.post("/chat/stream")(stream)
    return app


if __name__ == "__main__":
    uvicorn.run(create_app(int(sys.argv[2])), port=int(sys.argv[1]), log_level="warning", backlog=2048)
