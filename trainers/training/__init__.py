"""Training and scoring of one model; uses no Ray.

Four files lead from the teacher's stored outputs to a loss:
    training/examples.py       `load_outputs` maps teacher_outputs/*.npy, `Examples.take` makes Targets of them
    losses/targets.py          `Targets`: what the loss compares a batch with
    training/loop.py           `fit` -> `train_epoch` -> `draw_batches` -> `find_gradients`
    losses/__init__.py         `loss_terms`: cross entropy, and LOSSES, whose terms have a file each
"""
