"""Training and scoring of one model; knows no Ray.

From the teacher's stored outputs to a loss it is four files:
    training/examples.py       `load_outputs` maps teacher_outputs/*.npy, `Examples.take` makes Targets of them
    losses/targets.py          `Targets`: what a batch is held against
    training/loop.py           `fit` -> `train_epoch` -> `taken_and_drawn` -> `find_gradients`
    losses/__init__.py         `loss_terms`: cross entropy, and LOSSES, whose terms have a file each
"""
