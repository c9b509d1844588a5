"""What a server's answer to a chat request says: a text that can be used, or the reason why there is none.

A server sends what it likes: web pages, JSON of other shapes, refusals, nothing. Only a text with words passes.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.files import parse_json

_MOST_TEXT = 20_000  # characters of an answer
_QUOTED = 120
# Beginnings of answers of models that will not, or cannot, say what was asked.
_REFUSAL = re.compile(
    r"\W*(?:(?:i['’]m|i am|we['’]re) (?:very |really |so )?sorry|sorry[,.!]|i apologi[sz]e|my apologies"
    r"|(?:unfortunately, )?i (?:can['’]t|cannot|can not|could(?: not|n['’]t)|won['’]t|will not|do not|don['’]t)\b"
    r"|(?:unfortunately, )?i(?:['’]m| am) (?:unable|not able|not allowed)|as an ai\b"
    r"|(?:很|非常)?抱歉|对不起|我无法|我不能|作为(?:一个|一名)?(?:ai|人工智能))",
    re.IGNORECASE,
)
_REASONING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


class ChatError(InputError):
    """There is no answer that can be used.

    Attributes:
        kind: "server" if none came, "refusal" of a model that will not answer, "answer" for one without use.
    """

    def __init__(self, message: str, kind: str = "answer") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Reply:
    """A usable answer.

    Attributes:
        text: of the model, without white space around it, and without its reasoning.
        prompt_tokens, completion_tokens: as the server counts them; 0 where it does not.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


def read_reply(body: bytes, kind: str = "") -> Reply:
    """The `Reply` in the body of a server's answer to a chat request.

    Args:
        body: of the answer.
        kind: its Content-Type.

    Raises:
        ChatError: there is none.
    """
    text = body.decode("utf-8", "replace").strip()
    if not text:
        raise ChatError("the server's answer is empty", "server")
    if kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml") or text.startswith("<"):
        raise ChatError("the server answers with a web page; the address of an API, such as .../v1, is needed",
                        "server")  # fmt: skip
    try:
        values = parse_json(text, "the server's answer", "that of an OpenAI-compatible server is accepted")
    except InputError as error:
        raise ChatError(one_line(error, 300), "server") from error
    usage = values.get("usage") if isinstance(values, dict) else None
    counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(usable_text(_content(values)), *counts)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0


def _content(values: Any) -> str:
    """choices[0].message.content, in whatever of its forms."""
    choices = values.get("choices") if isinstance(values, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ChatError("the server's answer has no choices[0].message; that of an OpenAI-compatible server is "
                        "accepted", "server")  # fmt: skip
    if isinstance(message.get("refusal"), str) and message["refusal"].strip():
        raise ChatError(f"the model refuses: {one_line(message['refusal'], _QUOTED)}", "refusal")
    if choice.get("finish_reason") == "content_filter":
        raise ChatError("the server's content filter has removed the answer", "refusal")
    content = message.get("content")
    if isinstance(content, list):  # parts, as some servers send them
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise ChatError("the server's answer has a message whose content is no text", "server")
    return content


def usable_text(text: str) -> str:
    """The text of an answer without reasoning and white space around it.

    Raises:
        ChatError: it is empty, has no words or is damaged, or the model refuses.
    """
    text = _REASONING.sub("", text).strip()
    if not text:
        raise ChatError("the model's answer is empty")
    if _REFUSAL.match(text):
        raise ChatError(f"the model refuses: {one_line(text, _QUOTED)}", "refusal")
    odd = [
        letter
        for letter in text
        if letter == "\ufffd" or (unicodedata.category(letter) == "Cc" and letter not in "\n\t\r")
    ]
    if not any(letter.isalpha() for letter in text):
        raise ChatError(f"the model's answer has no words: {one_line(text, _QUOTED)}")
    if odd or len(text) > _MOST_TEXT:
        why = "is too long" if len(text) > _MOST_TEXT else "has characters that no text has"
        raise ChatError(f"the model's answer {why}: {one_line(text, _QUOTED)}")
    return text
