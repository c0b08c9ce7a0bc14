"""A FastAPI application as people write them by hand: `python -m uvicorn tests.servers.models.fastapi_app:app`."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):  # type: ignore[misc]
    """The features of one row."""

    a: float
    b: float


class Rows(BaseModel):  # type: ignore[misc]
    """Several rows, and a plain value that belongs to each."""

    rows: list[Row]
    region: str = "north"


app = FastAPI()


@app.get("/health")  # type: ignore[untyped-decorator]
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")  # type: ignore[untyped-decorator]
def predict(given: Rows) -> dict[str, Any]:
    """Return a record a row, and what the answer is about beside them."""
    answers = [{"mean": row.a + row.b, "lo": (row.a + row.b) / 2, "model": "rf"} for row in given.rows]
    return {"predictions": answers, "meta": {"n": len(answers), "region": given.region}}


@app.post("/one")  # type: ignore[untyped-decorator]
def one(features: Row) -> dict[str, float]:
    """Return one record for one object."""
    return {"mean": features.a + features.b, "lo": (features.a + features.b) / 2}
