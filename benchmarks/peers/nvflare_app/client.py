"""The client's part of the NVFLARE measurement: add one to the model, without training."""

import nvflare.client as flare


def main() -> None:
    """Answer every round until the server says that the job is done."""
    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        answer = {name: value + 1 for name, value in model.params.items()}
        flare.send(flare.FLModel(params=answer, params_type=flare.ParamsType.FULL))


if __name__ == "__main__":
    main()
