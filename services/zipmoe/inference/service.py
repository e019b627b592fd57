"""Inference's door: converts and calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration

from zipmoe.errors import InvalidRequest
from zipmoe.inference.chat import ChatTemplate, Message
from zipmoe.inference.engine import Engine
from zipmoe.inference.model.kv_cache import PAGE
from zipmoe.inference.sampling import Sampling
from zipmoe.inference.sequence import Delta, Finish, Usage
from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.status import Context

_FINISH = {
    Finish.END: inference_pb2.FINISH_REASON_END,
    Finish.STOP: inference_pb2.FINISH_REASON_STOP,
    Finish.LENGTH: inference_pb2.FINISH_REASON_LENGTH,
}


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, engine: Engine, family: str, fingerprint: str, chat: ChatTemplate | None) -> None:
        self._engine = engine
        self._family = family
        self._fingerprint = fingerprint
        self._chat = chat

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        # Who will be refused is told so at once. Long texts, and templates, take their time.
        self._engine.batch.check_room()
        prompt = await asyncio.to_thread(self._prompt, request)
        async with aclosing(self._engine.generate(prompt, _sampling(request.sampling))) as deltas:
            async for delta in deltas:
                yield _delta_to_pb(delta)

    def _prompt(self, request: inference_pb2.GenerateRequest) -> list[int]:
        kind = request.WhichOneof("prompt")
        if kind == "text":
            return self._engine.tokenizer.encode(request.text).ids
        if kind == "conversation":
            return self._chat_prompt(request.conversation)
        return list(request.tokens.tokens)

    def _chat_prompt(self, conversation: inference_pb2.Conversation) -> list[int]:
        if self._chat is None:
            raise InvalidRequest("the checkpoint has no chat template: give a text or tokens instead of a conversation")
        messages = [Message(each.role, each.content) for each in conversation.messages]
        wanted = conversation.generation_prompt if conversation.HasField("generation_prompt") else True
        return self._chat.encode(self._engine.tokenizer, messages, wanted)

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: Context
    ) -> inference_pb2.TokenizeResponse:
        return inference_pb2.TokenizeResponse(tokens=self._engine.tokenizer.encode(request.text).ids)

    async def GetModel(
        self, request: inference_pb2.GetModelRequest, context: Context
    ) -> inference_pb2.GetModelResponse:
        model = self._engine.model
        return inference_pb2.GetModelResponse(
            family=self._family,
            fingerprint=self._fingerprint,
            context=model.config.context,
            vocabulary=model.config.vocabulary,
            mode=model.arithmetic.name,
            chat=self._chat is not None,
        )

    async def GetLoad(self, request: inference_pb2.GetLoadRequest, context: Context) -> inference_pb2.GetLoadResponse:
        engine, batch = self._engine, self._engine.batch
        return inference_pb2.GetLoadResponse(
            running=len(batch.running),
            waiting=len(batch.waiting),
            page_tokens=PAGE,
            pages=batch.pages.count,
            pages_used=batch.pages.used,
            steps=engine.steps,
            tokens=engine.tokens,
        )


def _sampling(params: inference_pb2.SamplingParams) -> Sampling:
    set_fields = {
        name: getattr(params, name)
        for name in ("max_tokens", "temperature", "top_p", "top_k", "seed", "logprobs")
        if params.HasField(name)
    }
    return Sampling(**set_fields, stop=tuple(params.stop))


def _delta_to_pb(delta: Delta) -> inference_pb2.GenerateResponse:
    response = inference_pb2.GenerateResponse(text=delta.text, tokens=[sampled.token for sampled in delta.tokens])
    for sampled in delta.tokens:
        if sampled.logprob is not None:
            response.logprobs.add(
                logprob=sampled.logprob,
                likeliest=[inference_pb2.LikelyToken(token=token, logprob=its) for token, its in sampled.likeliest],
            )
    if delta.finish is not None and delta.usage is not None:
        response.finish = _FINISH[delta.finish]
        response.usage.CopyFrom(_usage_to_pb(delta.usage))
    return response


def _usage_to_pb(usage: Usage) -> inference_pb2.Usage:
    return inference_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        queue_time=_duration(usage.queue_time),
        time_to_first_token=_duration(usage.time_to_first_token),
        time_per_output_token=_duration(usage.time_per_output_token),
        reused_tokens=usage.reused_tokens,
        expert_uses=usage.experts.uses,
        expert_misses=usage.experts.misses,
        acquire_calls=usage.experts.calls,
        bytes_read=usage.experts.bytes_read,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
