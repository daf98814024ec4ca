"""The built-in layouts are those of their formats, as other programs have them.

Each value was copied by hand from the file that is named at it, in that file's own spelling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import pairwise

import pytest

from gaitforge.layout import LAYOUTS, spell_joint

Pairs = set[frozenset[int]]

# perfanalytics/pose2sim, Pose2Sim/MarkerAugmenter/utils.py, getOpenPoseMarkerNames
BODY25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist midHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye "
    "REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
# CMU-Perceptual-Computing-Lab/openpose, include/openpose/pose/poseParametersRender.hpp, POSE_BODY_25_PAIRS_RENDER_GPU
BODY25_BONES = (
    "1,8 1,2 1,5 2,3 3,4 5,6 6,7 8,9 9,10 10,11 8,12 12,13 13,14 1,0 0,15 15,17 0,16 16,18 14,19 19,20 14,21 11,22 "
    "22,23 11,24"
)
# microsoft/PTVS, Python/Product/PyKinect/PyKinect/pykinect/nui/structs.py, JointId
KINECT20 = (
    "HipCenter Spine ShoulderCenter Head ShoulderLeft ElbowLeft WristLeft HandLeft ShoulderRight ElbowRight "
    "WristRight HandRight HipLeft KneeLeft AnkleLeft FootLeft HipRight KneeRight AnkleRight FootRight"
)
# microsoft/PTVS, Python/Product/PyKinect/PyKinect/PyGameDemo.py: each line is drawn from joint to joint
KINECT20_LIMBS = (
    "ShoulderCenter ShoulderLeft ElbowLeft WristLeft HandLeft",
    "ShoulderCenter ShoulderRight ElbowRight WristRight HandRight",
    "HipCenter HipLeft KneeLeft AnkleLeft FootLeft",
    "HipCenter HipRight KneeRight AnkleRight FootRight",
    "HipCenter Spine ShoulderCenter Head",
)
# open-mmlab/mmpose, mmpose/datasets/datasets/body3d/body3d_h36m_dataset.py, JOINT_NAMES; its Root is called pelvis, too
H36M17 = (
    "Pelvis RHip RKnee RFoot LHip LKnee LFoot Spine Thorax NeckBase Head LShoulder LElbow LWrist RShoulder RElbow "
    "RWrist"
)
# facebookresearch/VideoPose3D, common/h36m_dataset.py: 32 joints with their parents, those that are removed, and the
# new parents of two of those that stay
H36M_PARENTS = (
    -1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 12, 16, 17, 18, 19, 20, 19, 22, 12, 24, 25, 26, 27, 28, 27, 30,
)  # fmt: skip
H36M_REMOVED = {4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31}
H36M_REWIRED = {11: 8, 14: 8}
H36M_RIGHT = {1, 2, 3, 4, 5, 24, 25, 26, 27, 28, 29, 30, 31}
# Fang-Haoshu/Halpe-FullBody, README.md
HALPE26 = (
    "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle RAnkle Head "
    "Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel"
)
# open-mmlab/mmpose, configs/_base_/datasets/halpe26.py, skeleton_info
HALPE26_BONES = (
    "left_ankle,left_knee left_knee,left_hip left_hip,hip right_ankle,right_knee right_knee,right_hip right_hip,hip "
    "head,neck neck,hip neck,left_shoulder left_shoulder,left_elbow left_elbow,left_wrist neck,right_shoulder "
    "right_shoulder,right_elbow right_elbow,right_wrist left_eye,right_eye nose,left_eye nose,right_eye "
    "left_eye,left_ear right_eye,right_ear left_ear,left_shoulder right_ear,right_shoulder left_ankle,left_big_toe "
    "left_ankle,left_small_toe left_ankle,left_heel right_ankle,right_big_toe right_ankle,right_small_toe "
    "right_ankle,right_heel"
)
# google-ai-edge/mediapipe, mediapipe/python/solutions/pose.py, PoseLandmark
MEDIAPIPE33 = (
    "NOSE LEFT_EYE_INNER LEFT_EYE LEFT_EYE_OUTER RIGHT_EYE_INNER RIGHT_EYE RIGHT_EYE_OUTER LEFT_EAR RIGHT_EAR "
    "MOUTH_LEFT MOUTH_RIGHT LEFT_SHOULDER RIGHT_SHOULDER LEFT_ELBOW RIGHT_ELBOW LEFT_WRIST RIGHT_WRIST LEFT_PINKY "
    "RIGHT_PINKY LEFT_INDEX RIGHT_INDEX LEFT_THUMB RIGHT_THUMB LEFT_HIP RIGHT_HIP LEFT_KNEE RIGHT_KNEE LEFT_ANKLE "
    "RIGHT_ANKLE LEFT_HEEL RIGHT_HEEL LEFT_FOOT_INDEX RIGHT_FOOT_INDEX"
)
# google-ai-edge/mediapipe, mediapipe/python/solutions/pose_connections.py
MEDIAPIPE33_BONES = (
    "0,1 1,2 2,3 3,7 0,4 4,5 5,6 6,8 9,10 11,12 11,13 13,15 15,17 15,19 15,21 17,19 12,14 14,16 16,18 16,20 16,22 "
    "18,20 11,23 12,24 23,24 23,25 24,26 25,27 26,28 27,29 28,30 29,31 30,32 27,31 28,32"
)
# shahroudy/NTURGB-D, Matlab/show_skeleton.m: the joint that each is connected to, counted from 1
NTU25_CONNECTED = (
    2,
    1,
    21,
    3,
    21,
    5,
    6,
    7,
    21,
    9,
    10,
    11,
    1,
    13,
    14,
    15,
    1,
    17,
    18,
    19,
    2,
    8,
    8,
    12,
    12,
)
# kennymckormick/pyskl, pyskl/utils/graph.py, neighbor_base of "nturgb+d", counted from 1
NTU25_BONES = (
    "1,2 2,21 3,21 4,3 5,21 6,5 7,6 8,7 9,21 10,9 11,10 12,11 13,1 14,13 15,14 16,15 17,1 18,17 19,18 20,19 22,8 23,8 "
    "24,12 25,12"
)
# the same file, inward of "coco"
COCO17_BONES = "15,13 13,11 16,14 14,12 11,5 12,6 9,7 7,5 10,8 8,6 5,0 6,0 1,0 3,1 2,0 4,2"
# andres-fr/blender-mvnx-io, io_anim_mvnx/mvnx.py
MVNX23 = (
    "Pelvis L5 L3 T12 T8 Neck Head RightShoulder RightUpperArm RightForeArm RightHand LeftShoulder LeftUpperArm "
    "LeftForeArm LeftHand RightUpperLeg RightLowerLeg RightFoot RightToe LeftUpperLeg LeftLowerLeg LeftFoot LeftToe"
)
# andres-fr/blender-mvnx-io, io_anim_mvnx_utest/data/test_mocap.mvnx: the segments of each joint's two connectors
MVNX23_JOINTS = (
    "Pelvis,L5 L5,L3 L3,T12 T12,T8 T8,Neck Neck,Head T8,RightShoulder RightShoulder,RightUpperArm "
    "RightUpperArm,RightForeArm RightForeArm,RightHand T8,LeftShoulder LeftShoulder,LeftUpperArm "
    "LeftUpperArm,LeftForeArm LeftForeArm,LeftHand Pelvis,RightUpperLeg RightUpperLeg,RightLowerLeg "
    "RightLowerLeg,RightFoot RightFoot,RightToe Pelvis,LeftUpperLeg LeftUpperLeg,LeftLowerLeg LeftLowerLeg,LeftFoot "
    "LeftFoot,LeftToe"
)
# perfanalytics/pose2sim, Pose2Sim/MarkerAugmenter/utils.py, response_markers of getOpenPoseMarkers_fullBody
OPENCAP43 = (
    "C7_study r_shoulder_study L_shoulder_study r.ASIS_study L.ASIS_study r.PSIS_study L.PSIS_study r_knee_study "
    "L_knee_study r_mknee_study L_mknee_study r_ankle_study L_ankle_study r_mankle_study L_mankle_study r_calc_study "
    "L_calc_study r_toe_study L_toe_study r_5meta_study L_5meta_study r_lelbow_study L_lelbow_study r_melbow_study "
    "L_melbow_study r_lwrist_study L_lwrist_study r_mwrist_study L_mwrist_study r_thigh1_study r_thigh2_study "
    "r_thigh3_study L_thigh1_study L_thigh2_study L_thigh3_study r_sh1_study r_sh2_study r_sh3_study L_sh1_study "
    "L_sh2_study L_sh3_study RHJC_study LHJC_study"
)
# stanfordnmbl/opencap-core, utils.py: response_markers of getOpenPoseMarkers_lowerExtremity2 and of
# getMarkers_upperExtremity_noPelvis2, in another order
OPENCAP_LOWER = (
    "r.ASIS_study L.ASIS_study r.PSIS_study L.PSIS_study r_knee_study r_mknee_study r_ankle_study r_mankle_study "
    "r_toe_study r_5meta_study r_calc_study L_knee_study L_mknee_study L_ankle_study L_mankle_study L_toe_study "
    "L_calc_study L_5meta_study r_shoulder_study L_shoulder_study C7_study r_thigh1_study r_thigh2_study "
    "r_thigh3_study L_thigh1_study L_thigh2_study L_thigh3_study r_sh1_study r_sh2_study r_sh3_study L_sh1_study "
    "L_sh2_study L_sh3_study RHJC_study LHJC_study"
)
OPENCAP_UPPER = (
    "r_lelbow_study r_melbow_study r_lwrist_study r_mwrist_study L_lelbow_study L_melbow_study L_lwrist_study "
    "L_mwrist_study"
)


def bones(name: str) -> Pairs:
    return set(map(frozenset, LAYOUTS[name].bones))


def numbered(text: str, first: int = 0) -> Pairs:
    """Bones written as "1,8 1,2", counted from `first`."""
    return {frozenset(int(joint) - first for joint in pair.split(",")) for pair in text.split()}


def named(name: str, pairs: Iterable[Iterable[str]]) -> Pairs:
    """Bones of two names each, as a layout counts its joints."""
    places = {spell_joint(joint): place for place, joint in enumerate(LAYOUTS[name].joints)}
    return {frozenset(places[spell_joint(joint)] for joint in pair) for pair in pairs}


@pytest.mark.parametrize(
    ("name", "joints"),
    [
        ("body25", BODY25),
        ("kinect20", KINECT20),
        ("h36m17", H36M17),
        ("halpe26", HALPE26),
        ("mediapipe33", MEDIAPIPE33),
        ("mvnx23", MVNX23),
        ("opencap43", OPENCAP43),
    ],
)
def test_joints_come_in_the_order_of_the_format(name: str, joints: str) -> None:
    assert [spell_joint(joint) for joint in LAYOUTS[name].joints] == [
        spell_joint(joint) for joint in joints.split()
    ]


def test_bones_are_those_that_the_format_draws() -> None:
    assert bones("body25") == numbered(BODY25_BONES)
    assert bones("halpe26") == named(
        "halpe26", (bone.split(",") for bone in HALPE26_BONES.split())
    )
    assert bones("mvnx23") == named("mvnx23", (bone.split(",") for bone in MVNX23_JOINTS.split()))
    limbs = [limb.split() for limb in KINECT20_LIMBS]
    drawn = [pair for limb in limbs for pair in pairwise(limb)]
    assert bones("kinect20") == named("kinect20", drawn)


def test_bones_of_mediapipe_are_those_it_draws_and_four_that_hold_face_and_body_together() -> None:
    added = bones("mediapipe33") - numbered(MEDIAPIPE33_BONES)
    assert added == named(
        "mediapipe33",
        [("nose", f"{side}_{joint}") for side in ("left", "right") for joint in ("mouth", "shoulder")],
    )  # fmt: skip
    assert numbered(MEDIAPIPE33_BONES) < bones("mediapipe33")


def test_h36m17_is_what_stays_of_the_32_joints() -> None:
    parents = list(H36M_PARENTS)
    stay = [joint for joint in range(32) if joint not in H36M_REMOVED]
    for joint, parent in enumerate(parents):
        while parent in H36M_REMOVED:
            parent = parents[parent]
        parents[joint] = parent
    kept = {place: stay.index(parents[joint]) for place, joint in enumerate(stay) if joint}
    assert bones("h36m17") == {frozenset(pair) for pair in (kept | H36M_REWIRED).items()}
    right = {place for place, joint in enumerate(stay) if joint in H36M_RIGHT}
    assert {pair[1] for pair in LAYOUTS["h36m17"].left_right} == right


def test_ntu25_is_kinect25_under_another_name() -> None:
    ntu, kinect = LAYOUTS["ntu25"].as_dict(), LAYOUTS["kinect25"].as_dict()
    assert {**ntu, "name": "kinect25"} == kinect
    assert bones("ntu25") == numbered(NTU25_BONES, first=1)
    drawn = {frozenset((n, other - 1)) for n, other in enumerate(NTU25_CONNECTED)}
    assert bones("ntu25") == drawn


def test_coco17_has_the_bones_of_pyskl_and_two_that_cross_the_body() -> None:
    assert bones("coco17") - numbered(COCO17_BONES) == numbered("5,6 11,12")
    assert numbered(COCO17_BONES) < bones("coco17")


def test_opencap43_has_the_markers_of_opencap_whatever_their_order() -> None:
    assert set(LAYOUTS["opencap43"].joints) == {*OPENCAP_LOWER.split(), *OPENCAP_UPPER.split()}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("coco17", "4611a46d192bf94271a4df8423cd50c94e7accf4ae76ba50ebdca8299e478cca"),
        ("kinect25", "2ede378cce01ff54493f41d4faaf39773cd4b5f82bb780edefe9b86e6a28a404"),
    ],
)
def test_layouts_of_stores_that_exist_stay_to_the_byte(name: str, digest: str) -> None:
    """What a store was made with is known by a hash of its layout."""
    assert hashlib.sha256(json.dumps(LAYOUTS[name].as_dict()).encode()).hexdigest() == digest


def test_images_have_y_down_and_rooms_an_axis_up() -> None:
    ups = {name: layout.up for name, layout in LAYOUTS.items()}
    assert ups == {
        "coco17": "y", "kinect25": "y", "kinect20": "y", "ntu25": "y", "opencap43": "y", "body25": "-y",
        "halpe26": "-y", "mediapipe33": "-y", "h36m17": "z", "mvnx23": "z",
    }  # fmt: skip
