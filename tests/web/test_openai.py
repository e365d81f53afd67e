"""The package `openai` against the studio, whose commands only pretend."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from studios import SOUND, Client, gate, runs, serving


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Client]]:
    root = tmp_path_factory.mktemp("studio")
    with serving(root, "correct-horse-battery") as client:
        yield root, client


@pytest.fixture
def api(studio: tuple[Path, Client]) -> openai.OpenAI:
    client = studio[1]
    return openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key=client.token, max_retries=0)


def newest(client: Client) -> dict[str, object]:
    return client("GET", "/api/jobs?limit=1").json[0]


def test_speech_is_the_sound_of_a_job(studio: tuple[Path, Client], api: openai.OpenAI) -> None:
    more = {"seed": 3, "preset": "draft"}
    answer = api.audio.speech.create(
        model="tts-1", voice="alma", input="Hello.", response_format="wav", speed=1.5, extra_body=more
    )
    assert answer.read() == SOUND and answer.response.headers["content-type"] == "audio/wav"
    assert newest(studio[1])["settings"] == {"speed": 1.5, "text": "Hello.", "voice": "alma", **more}


@pytest.mark.parametrize(
    ("kind", "begin", "type"),
    [
        ("mp3", b"ID3", "audio/mpeg"),
        ("opus", b"OggS", "audio/ogg"),
        ("aac", b"\xff\xf1", "audio/aac"),
        ("flac", b"fLaC", "audio/flac"),
        ("pcm", b"\0\0\0\0", "audio/pcm"),
    ],
)
def test_formats_of_speech(api: openai.OpenAI, kind: str, begin: bytes, type: str) -> None:
    answer = api.audio.speech.create(model="mini", voice="alma", input="Hello.", response_format=kind)  # type: ignore[arg-type]
    assert answer.read().startswith(begin) and answer.response.headers["content-type"] == type


def test_pictures_are_those_of_a_job(studio: tuple[Path, Client], api: openai.OpenAI) -> None:
    drawn = api.images.generate(model="dall-e-2", prompt="a circle", size="auto", n=1, extra_body={"seed": 2})
    assert drawn.data is not None and drawn.data[0].b64_json is not None
    argv = json.loads(base64.b64decode(drawn.data[0].b64_json))
    assert argv[0] == "txt2img" and {"--seed=2", "--count=1"} < {*argv} and argv[-1] == "a circle"
    drawn = api.images.generate(model="gpt-image-1", prompt="a circle", size="1024x1024", response_format="url")
    assert "size" not in newest(studio[1])["settings"]  # type: ignore[operator]
    assert drawn.data is not None and drawn.data[0].url is not None
    assert studio[1]("GET", drawn.data[0].url.partition(str(studio[1].port))[2]).status == 200


def test_models_and_voices_are_listed(studio: tuple[Path, Client], api: openai.OpenAI) -> None:
    assert {"mini", "shapes"} <= {model.id for model in api.models.list()} <= {"mini", "shapes", "tortoise", "f5"}
    assert api.models.retrieve("mini").owned_by == "difftool"
    assert {"id": "alma", "name": "alma"} in studio[1]("GET", "/v1/audio/voices").json["voices"]


def test_errors_have_their_shape(api: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        api.audio.speech.create(model="tts-1", voice="nobody", input="Hello.")
    assert wrong.value.param == "voice" and wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("nothing")
    with pytest.raises(openai.NotFoundError) as failed:
        api.images.generate(prompt="fail")
    assert "no fail" in failed.value.message
    with pytest.raises(openai.AuthenticationError):
        api.with_options(api_key="wrong").models.list()


def test_streams_are_refused(api: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as speech:
        api.audio.speech.create(model="tts-1", voice="alma", input="Hello.", stream_format="sse")
    with pytest.raises(openai.BadRequestError) as pictures:
        api.images.generate(model="gpt-image-1", prompt="a circle", stream=True)
    assert (speech.value.param, pictures.value.param) == ("stream_format", "stream")


def test_a_client_that_goes_away_cancels_its_job(studio: tuple[Path, Client]) -> None:
    root, client = studio
    connection = http.client.HTTPConnection("127.0.0.1", client.port)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {client.token}"}
    body = json.dumps({"prompt": gate(root)})
    connection.request("POST", "/v1/images/generations", body, headers)
    while (job := newest(client))["settings"]["prompt"] != "gate":  # type: ignore[index]
        pass
    client.wait(job, runs)
    connection.close()
    assert client.wait(job)["state"] == "cancelled"
