"""Texts made anew by a language model: captions for training, and prompts for inference.

The way is that of aigc-apps/EasyAnimate (easyanimate/video_caption, `caption_rewrite.py` and `beautiful_prompt.py`): a
template, then the text; the answer must hold {...} with one key, whose value is taken. The words of the templates are
our own.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ppdiffusers_ext.chat.client import Client
from ppdiffusers_ext.chat.replies import ChatError, usable_text
from ppdiffusers_ext.errors import InputError, counted, one_line, shown

SYSTEM = "You are a helpful assistant."
TEMPERATURE, MAX_TOKENS = 0.7, 1024
REWRITE_ATTEMPTS, BEAUTIFY_ATTEMPTS = 10, 5
_QUOTED = 120


@dataclass(frozen=True)
class Template:
    """What is asked of the model.

    Attributes:
        key: of the JSON object that the answer must hold: the original's `"key": ` prefix.
        rules: what the text is to become.
        examples: pairs of a text and what becomes of it.
        closing: the line before the text.
    """

    key: str
    rules: str
    examples: tuple[tuple[str, str], ...]
    closing: str

    @property
    def words(self) -> str:
        shown = (f"Input: {given}\nOutput: {self._answer(made)}" for given, made in self.examples)
        return "\n\n".join([self.rules.strip(), *shown, self.closing])

    def _answer(self, text: str) -> str:
        return json.dumps({self.key: text})

    def messages(self, text: str) -> list[dict[str, str]]:
        """The chat that asks for a text to be made anew."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{self.words}\n{text}"}]

    def parse(self, answer: str) -> str:
        """The text in an answer.

        Raises:
            ChatError: the answer holds none, or that of an example.
        """
        found = self._value(answer)
        if found is None:
            raise ChatError(f'the answer holds no {{"{self.key}": "..."}}: {one_line(answer, _QUOTED)}')
        text = usable_text(found)
        if any(_plain(text) == _plain(made) for _, made in self.examples):
            raise ChatError("the answer repeats an example of the template")
        return text

    def _value(self, answer: str) -> str | None:
        for match in re.finditer(r"\{", answer):
            try:
                values, _ = json.JSONDecoder(strict=False).raw_decode(answer, match.start())
            except (ValueError, RecursionError):
                continue
            value = values.get(self.key) if isinstance(values, dict) else None
            if isinstance(value, str):
                return value
        # As the original reads it: models forget to escape the quotation marks within the text.
        loose = re.search(rf'\{{\s*"{re.escape(self.key)}"\s*:\s*"(.*)"\s*\}}', answer, re.DOTALL)
        return loose[1].replace('\\"', '"') if loose else None


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


REWRITE = Template(
    key="rewritten description",
    rules="""
Turn a description of a video into one that a text-to-video model can be trained on. Follow these rules:
1. Say directly what is there. Never begin with phrases such as "The video shows", "In this clip" or "We can see".
2. Name the subject and how it looks first, then what it does in the order of time, then the surroundings.
3. Mention the view, the movement of the camera and the style only where the description does.
4. Leave out opinions, moods and guesses, and everything that is said to be absent or not visible.
5. Add nothing that the description does not say.
Answer with one JSON object with the key "rewritten description" and nothing else.
""",
    examples=(
        (
            "The video seems to capture a lovely moment: a cyclist in a yellow jacket rides down a wet street, maybe "
            "in autumn. No other traffic can be seen. The camera follows her from behind.",
            "A cyclist in a yellow jacket rides down a wet street. The camera follows her from behind.",
        ),
        (
            "In this clip we are shown two hands that knead dough on a wooden table, which evokes a sense of home. "
            "There is no text. Flour lies around the dough.",
            "Two hands knead dough on a wooden table, with flour scattered around the dough.",
        ),
    ),
    closing="The description to rewrite:",
)
BEAUTIFY = Template(
    key="detailed description",
    rules="""
Expand a short prompt into a detailed description from which a text-to-video model makes a good video:
1. Keep what the prompt asks for. Name the main subject with its visible attributes, and what it does.
2. Describe the surroundings, the light, and objects that fit.
3. End with the shot size, the point of view and the movement of the camera.
4. Use plain sentences in the present tense, in the language of the prompt; at most 200 words.
Answer with one JSON object with the key "detailed description" and nothing else.
""",
    examples=(
        (
            "a fox in snow",
            "A red fox with a thick coat and a white-tipped tail trots across a snow-covered meadow, stops, lifts its "
            "head and looks around, its breath visible in the cold air. Dark pines stand behind the meadow under a "
            "pale morning sky, and low sunlight makes the snow glitter. Medium shot at the height of the fox's eyes; "
            "the camera slowly tracks sideways with the animal.",
        ),
    ),
    closing="The prompt to expand:",
)


def rewritten(template: Template, ask: Callable[[int], str], attempts: int) -> str:
    """The text of the first answer that a template can be read from.

    Args:
        template: `REWRITE` or `BEAUTIFY`.
        ask: gives the answer of an attempt: 0, 1, ...
        attempts: answers that are asked for at most.

    Raises:
        ChatError: none can be used; the message has the last one's reason. An error of the server is raised at once.
    """
    last = ChatError("nothing was asked")
    for attempt in range(attempts):
        try:
            return template.parse(ask(attempt))
        except ChatError as error:
            if error.kind == "server":  # which has been tried several times
                raise
            last = error
    raise ChatError(f"none of {counted(attempts, 'answer')} can be used, the last: {last}", last.kind) from last


def ask_client(client: Client, template: Template, text: str, temperature: float, seed: int) -> Callable[[int], str]:
    """What `rewritten` asks: a server, each attempt with a seed of its own."""
    messages = template.messages(text)
    return lambda attempt: client.ask(messages, temperature, MAX_TOKENS, seed + attempt).text


def beautify(prompt: str, client: Client, attempts: int = BEAUTIFY_ATTEMPTS, seed: int = 0) -> str:
    """A detailed description of what a prompt asks for, at most about 200 words.

    Args:
        prompt: short text.
        client: of the server that has the language model.
        attempts: answers that are asked for at most.
        seed: of the first attempt.

    Raises:
        InputError: the prompt is empty, or no answer can be used.
    """
    if not prompt.strip():
        raise InputError("the prompt is empty; a text that says what is to be seen is accepted")
    try:
        return rewritten(BEAUTIFY, ask_client(client, BEAUTIFY, prompt.strip(), TEMPERATURE, seed), attempts)
    except ChatError as error:
        raise ChatError(
            f"the server's model {shown(client.server.model)} gave no description of the prompt: {error}; a server "
            "that answers with one is needed, or the prompt as it is will do",
            error.kind,
        ) from error
