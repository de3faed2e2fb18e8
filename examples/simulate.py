"""Three simulated hospitals train a model together; run it with `python examples/simulate.py`."""

from sklearn.datasets import load_breast_cancer

import fedcohort as fc

frame = load_breast_cancer(as_frame=True).frame.rename(columns=lambda name: name.replace(" ", "_"))
frame["malignant"] = 1 - frame.pop("target")
hospitals = {"north": frame[:280], "south": frame[280:450], "west": frame[450:]}

study = fc.Study(
    name="Is the tumour malignant?",
    cohort=fc.Cohort(columns=["mean_radius", "mean_texture", "worst_area"], label="malignant"),
    analysis=fc.Train(model="logistic", algorithm="fedsgd", rounds=50, learning_rate=0.5),
)
result = fc.simulate(hospitals).run(study)
print(result)
