"""Messages: values to protobuf and back."""

from collections.abc import Sequence
from typing import Any, cast

from zipmoe.client.values import Completion, Load, Logprobs, Message, Model, Prompt, Usage
from zipmoe.errors import InvalidRequest
from zipmoe.v1 import inference_pb2


def generate_request(prompt: Prompt, **sampling: Any) -> inference_pb2.GenerateRequest:
    """What is None is left to the service. Raises InvalidRequest for a message that is none."""
    request = inference_pb2.GenerateRequest(sampling=inference_pb2.SamplingParams(**sampling))
    if isinstance(prompt, str):
        request.text = prompt
    elif prompt and not isinstance(prompt[0], int):
        for message in cast(Sequence[Message], prompt):
            try:
                request.conversation.messages.add(role=message["role"], content=message["content"])
            except (KeyError, TypeError):
                raise InvalidRequest(f"a message has a role and a content, both text: {message!r}") from None
    else:
        request.tokens.tokens.extend(cast(Sequence[int], prompt))
    return request


def completion(message: inference_pb2.GenerateResponse) -> Completion:
    logprobs = tuple(
        Logprobs(each.logprob, tuple((likely.token, likely.logprob) for likely in each.likeliest))
        for each in message.logprobs
    )
    if not message.finish:
        return Completion(message.text, tuple(message.tokens), None, None, logprobs)
    finish = inference_pb2.FinishReason.Name(message.finish).removeprefix("FINISH_REASON_").lower()
    return Completion(message.text, tuple(message.tokens), finish, _usage(message.usage), logprobs)


def _usage(usage: inference_pb2.Usage) -> Usage:
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.queue_time.ToTimedelta(),
        usage.time_to_first_token.ToTimedelta(),
        usage.time_per_output_token.ToTimedelta(),
        usage.expert_uses,
        usage.expert_misses,
        usage.acquire_calls,
        usage.bytes_read,
        usage.reused_tokens,
    )


def model(answer: inference_pb2.GetModelResponse) -> Model:
    return Model(answer.family, answer.fingerprint, answer.context, answer.vocabulary, answer.mode, answer.chat)


def load(answer: inference_pb2.GetLoadResponse) -> Load:
    return Load(
        answer.running,
        answer.waiting,
        answer.page_tokens,
        answer.pages,
        answer.pages_used,
        answer.steps,
        answer.tokens,
    )
