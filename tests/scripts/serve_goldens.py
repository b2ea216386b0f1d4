#!/usr/bin/env python3
"""Asks a running server for every greedy golden of the demo model, all at once, by the OpenAI API.

usage: serve_goldens.py http://HOST:PORT assets/demo-model/goldens
Standard library only. Exits 1 if any answer differs; meant for a server in fp32 (--dtype f32).
"""
import concurrent.futures
import json
import pathlib
import sys
import urllib.request


def ask(url, path, body):
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def check(url, model, name, case):
    body = {"model": model, "max_tokens": 48, "temperature": 0}
    if case["messages"] is not None:
        body["messages"] = case["messages"]
        text = ask(url, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    else:
        body["prompt"] = case["prompt"]
        text = ask(url, "/v1/completions", body)["choices"][0]["text"]
    expected = case["greedy"]["text_until_stop"]
    if text == expected:
        return None
    return f"{name}: {text!r}, expected {expected!r}"


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with urllib.request.urlopen(url + "/v1/models", timeout=30) as answer:
        models = [entry["id"] for entry in json.load(answer)["data"]]
    jobs = []
    for path in sorted(folder.glob("*.json")):
        golden = json.loads(path.read_text())
        if not isinstance(golden, dict) or "cases" not in golden or not golden["cases"]:
            continue
        if "greedy" not in golden["cases"][0] or "text_until_stop" not in golden["cases"][0]["greedy"]:
            continue
        # The base model is served under its folder's name.
        model = path.stem if path.stem in models else "base"
        jobs += [(model, f"{path.stem} case {i}", case) for i, case in enumerate(golden["cases"])]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        wrong = [w for w in pool.map(lambda job: check(url, *job), jobs) if w]
    for line in wrong:
        print(line)
    print(f"serve: {len(jobs) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
