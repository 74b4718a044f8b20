"""The evaluate program: an earlier model on today's validation items, beside the one just trained. Python 2.7 and 3."""

from __future__ import print_function

import argparse

from jobs.portable.inputs import WrongInput, exit_status, read_json, say, write_json
from jobs.portable.predict import check_fit, predicted_probabilities, recorded_model
from jobs.portable.same_items import digests, learnt_before


def main(argv):
    """Evaluate as the arguments say; returns the exit status."""
    return exit_status(evaluate, argv)


def evaluate(argv):
    """Write how many validation items only one of the models has right, as JSON.

    Items that only the earlier one was trained on are left out: it would seem better than it is. Raises WrongInput for a model
    file other than the recorded one, and for data that does not fit the model.
    """
    parser = argparse.ArgumentParser(prog="evaluate", description="Compare an earlier model with the one just trained.")
    parser.add_argument("--model", required=True, help="the folder of the earlier model's file")
    parser.add_argument("--description", required=True, help="the JSON file that says which model it is")
    parser.add_argument("--data", required=True, help="the prepared data, .npz")
    parser.add_argument("--validation", required=True, help="what the new model predicts for its validation items, .npy")
    parser.add_argument("--learnt", help="the prepared data that the earlier model was trained on, .npz, if that is other data")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    parser.add_argument("--code", default="", help="the folder of the code that the earlier model was trained with")
    parser.add_argument("--task", help="the configuration that the earlier model was trained with, JSON")
    options = parser.parse_args(argv)
    recorded = recorded_model(options.model, options.description)

    from jobs.portable import backend, saved_model
    from jobs.portable.train import loss_and_accuracy

    keras = backend.load(recorded["backend"], recorded["threads"], recorded["seed"], recorded["data_format"])
    import numpy

    data = numpy.load(options.data, allow_pickle=False)
    labels, new = data["y_val"].astype("int64"), numpy.load(options.validation, allow_pickle=False)
    check_fit(data, "x_val", recorded)
    if new.ndim != 2 or len(new) != len(labels):
        raise WrongInput("%s has the shape %s, not a row for each of %d items" % (options.validation, new.shape, len(labels)))
    task = read_json(options.task) if options.task else None
    model = saved_model.load(keras, options.model, recorded, options.code, task)
    earlier = predicted_probabilities(model, recorded, data["x_val"], "the validation items")
    is_fair = numpy.ones(len(labels), dtype=bool)
    if options.learnt:
        # One after the other: both may be large.
        before = digests(numpy.load(options.learnt, allow_pickle=False)["x_train"])
        is_fair = ~learnt_before(data["x_val"], before, digests(data["x_train"]))
    earlier, new, labels = earlier[is_fair], new[is_fair], labels[is_fair]
    was_right, is_right = earlier.argmax(axis=1) == labels, new.argmax(axis=1) == labels
    result = {
        "items": int(len(labels)),
        "lost": int((was_right & ~is_right).sum()),
        "gained": int((~was_right & is_right).sum()),
        "learnt_before": int((~is_fair).sum()),
    }
    if len(labels):
        result["previous_loss"], result["previous_accuracy"] = loss_and_accuracy(earlier, labels)
    write_json(options.out, result)
    say("the earlier model has %d of %d validation items right, the new one %d" % (was_right.sum(), len(labels), is_right.sum()))
    if result["learnt_before"]:
        say("%d more are left out: only the earlier model was trained on them" % result["learnt_before"])
