"""A chat that remembers what was said, for a model with a chat template: python examples/chat.py"""

from zipmoe.client import SyncClient

said = [{"role": "system", "content": "You answer in one sentence."}]
with SyncClient() as client:
    for question in ("Which planet is the largest?", "And the next?"):
        said.append({"role": "user", "content": question})
        answer = ""
        for piece in client.generate(said, max_tokens=64):
            print(piece.text, end="", flush=True)
            answer += piece.text
        print()
        said.append({"role": "assistant", "content": answer})
