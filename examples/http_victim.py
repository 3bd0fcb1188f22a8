"""A model behind a web address, and an attack on it: python examples/http_victim.py

--serve PORT only serves, so that from another terminal: spar run model=http://127.0.0.1:PORT/predict data=digits "threat=linf 0.1"
"""

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import torch
import uvicorn
from fastapi import Body, FastAPI

import sparring as sp
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.ledger import bills
from sparring.models.zoo import digits_plain

LEDGER = "runs/http_victim.sqlite"


def service() -> FastAPI:
    """POST /predict {"inputs": [...]} -> {"scores": [...], "version": ...}: all that an endpoint needs."""
    app, network = FastAPI(), digits_plain().eval()

    @app.post("/predict")
    def predict(inputs: Annotated[list, Body(embed=True)]) -> dict:
        with torch.no_grad():
            scores = network(torch.tensor(inputs, dtype=torch.float32))
        return {"scores": scores.tolist(), "version": "digits-plain 1"}

    return app


@contextlib.contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The address at which the app answers inside, on this machine only."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/predict"
    finally:
        server.should_exit = True
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", type=int, metavar="PORT")
    if port := parser.parse_args().serve:
        uvicorn.run(service(), host="127.0.0.1", port=port)
        return
    data = sp.load("digits", take=20)
    with served(service()) as address:
        victim = sp.victim(Endpoint(address, batch=20, ledger=LEDGER), data.domain, name="digits on the web")
        run = sp.evaluate(victim, data, sp.linf(0.1), attacks=["square(queries=50)"])
    print("clean", run.clean_accuracy.value, "robust", run.robust_accuracy.value)
    for bill in bills(LEDGER):
        print(f"{bill.address}: {bill.paid} answers paid for, {bill.remembered} remembered")


if __name__ == "__main__":
    main()
