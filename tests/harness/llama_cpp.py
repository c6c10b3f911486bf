"""llama.cpp's server, with a model that says what it is written to say.

The server is the real one. The model is of the llama architecture, but its layer adds nothing: each token has one
successor, so a reply is a chain of tokens after the last token of the prompt, which the chat template chooses.
"""

import importlib.util
import platform
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.programs import give_up
from local.process import answers

CONTEXT = 16_384  # tokens; the classifier's prompt has 7,000, since one of this model is a byte
_WIDTH = 128  # enough for random vectors of all tokens to be nearly orthogonal
_END = "</s>"
_CHAINS = {  # with "|" between the tokens; a character that is no ASCII and stands alone has one for each of its bytes
    "<assistant>": 'Grüß| dich|, |👋|!|\n| "C:\\|\t|\u2028|ж|.',
    "<label>": "bill|ing",
    "<reason>": "<think>|\nIs| it|?|\n</think>|\n\nIt| is.",
    "<call>": '<tool_call>|\n{|"name": |"look_up"|, "arguments": |{"article": "|refund|-|policy|"}|}\n|</tool_call>|'
    '\n<tool_call>|\n{"name": |"look|_up", |"arguments": {"|article": |"caf|é|"|}}|\n</tool_call>',
}
ANSWER = _CHAINS["<assistant>"].replace("|", "")
CONCLUSION = "It is."
CALLS = ({"article": "refund-policy"}, {"article": "café"})
_TEMPLATE = """\
{%- if tools %}<system>
{%- for tool in tools %}{{ tool | tojson }}
{%- endfor %}</s>
{%- endif %}
{%- for message in messages %}<{{ message.role }}>
{%- if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}
{%- else %}{{ message.content }}
{%- endif %}</s>
{%- endfor %}
{%- if add_generation_prompt %}<assistant>
{%- if "Look it up" in (messages[-1].content | string) %}<call>
{%- elif "Think" in (messages[-1].content | string) %}<reason>
{%- elif "Classify" in (messages[0].content | string) %}<label>
{%- endif %}
{%- endif %}"""


@contextmanager
def llama_cpp(folder: Path) -> Generator[str]:
    """Run a server for chat and embeddings with its files in a folder; yield its base URL."""
    if importlib.util.find_spec("xllamacpp") is None:
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            give_up("xllamacpp is not installed: uv sync --group test")
        pytest.skip("xllamacpp is not installed: it has no wheel for this platform")
    model, address, log = folder / "model.gguf", folder / "address", folder / "log"
    _write(model)
    command = [sys.executable, Path(__file__).with_name("run_llama_cpp.py"), model]
    with address.open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors)
    with process:
        try:
            deadline = time.monotonic() + 60
            while not (url := address.read_text()).endswith("\n"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            url = url.strip()
            answers(int(url.rpartition(":")[2]))
            yield f"{url}/v1"
        finally:
            process.kill()


def _write(file: Path) -> None:
    import gguf  # here, because it takes a second

    chains = {first: _tokens(chain) for first, chain in _CHAINS.items()}
    said = [token for rest in chains.values() for token in rest if token != _END and not token.startswith("<0x")]
    control = ["<s>", _END, "<system>", "<user>", "<tool>", *chains]
    kinds = {
        gguf.TokenType.UNKNOWN: ["<unk>"],
        gguf.TokenType.CONTROL: control,
        gguf.TokenType.BYTE: _bytes(bytes(range(256))),
        gguf.TokenType.NORMAL: said,
    }
    tokens = {token: kind for kind, of_kind in kinds.items() for token in of_kind}
    number = {token: index for index, token in enumerate(tokens)}
    embedding = np.random.default_rng(1).choice(np.array([-1, 1], np.float32), (len(tokens), _WIDTH))
    output = np.zeros_like(embedding)
    for first, rest in chains.items():
        for token, successor in pairwise([first, *rest]):
            output[number[successor]] += embedding[number[token]]
    # What follows the text if the server lets no reply end without a call.
    output[number["<tool_call>"]] += embedding[number["."]] / 2

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(list(tokens.values()))
    writer.add_bos_token_id(number["<s>"])
    writer.add_eos_token_id(number[_END])
    writer.add_unk_token_id(number["<unk>"])
    writer.add_chat_template(_TEMPLATE)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((_WIDTH, _WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tokens(chain: str) -> list[str]:
    tokens: list[str] = []
    for piece in chain.split("|"):
        alone = len(piece) == 1 and not piece.isascii()
        tokens += _bytes(piece.encode()) if alone else [piece.replace(" ", "▁")]
    return [*tokens, _END]


def _bytes(text: bytes) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in text]
