"""The part of KubeRay's RayJob that our manifest may use, as a JSON schema of our own.

The whole definition of `ray.io/v1` has more than a megabyte and is in no package that pip installs.
Names, types and what is required follow KubeRay's rayjob_types.go (commit 0057210) and
raycluster_types.go (commits 026f143, 3275ee0); `authOptions` and SidecarMode came later, and follow the
API reference of 1.6.2; pods follow the definition ray.io_rayjobs.yaml (commit 0074129) and Kubernetes' own
names. It is narrower than those: where the manifest needs another key, look it up there and add it.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
COUNT: Schema = {"type": "integer", "minimum": 0}
YES_OR_NO: Schema = {"type": "boolean"}
# a quantity of Kubernetes: 8, "8", "500m", "16Gi"
QUANTITY: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9.]+([KMGT]i?|m|k)?$"}]
}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}


def table(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def several(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY}

CONTAINER = table(
    ("name", "image"),
    name=NAME,
    image=TEXT,
    env=several(table(("name",), name=TEXT, value=TEXT)),
    envFrom=several(table(secretRef=table(("name",), name=NAME))),
    resources=table(limits=QUANTITIES, requests=QUANTITIES),
    ports=several(table(("containerPort",), containerPort=COUNT, name=NAME)),
    volumeMounts=several(
        table(("name", "mountPath"), name=NAME, mountPath=TEXT, readOnly=YES_OR_NO)
    ),
)

POD = table(
    ("spec",),
    spec=table(
        ("containers",),
        securityContext=table(fsGroup=COUNT),
        containers=several(CONTAINER),
        volumes=several(
            table(
                ("name",),
                name=NAME,
                configMap=table(("name",), name=NAME),
                persistentVolumeClaim=table(("claimName",), claimName=NAME),
            )
        ),
    ),
)

CLUSTER = table(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=table(mode={"enum": ["disabled", "token"]}, secretName=NAME),
    enableInTreeAutoscaling=YES_OR_NO,
    autoscalerOptions=table(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
    ),
    headGroupSpec=table(("template",), rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=several(
        table(
            ("groupName", "minReplicas", "maxReplicas", "template"),
            groupName=NAME,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)

RAY_JOB = table(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=table(("name",), name=NAME),
    spec=table(
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes=YES_OR_NO,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)

CONFIG_MAP = table(
    ("apiVersion", "kind", "metadata"),
    apiVersion={"const": "v1"},
    kind={"const": "ConfigMap"},
    metadata=table(("name",), name=NAME),
    binaryData={
        "type": "object",
        "propertyNames": {"pattern": "^[-._a-zA-Z0-9]+$"},
        "additionalProperties": {"type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$"},
    },
)
