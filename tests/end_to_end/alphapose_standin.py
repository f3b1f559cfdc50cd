"""A folder that looks like a checkout of AlphaPose, written for the tests of what runs one.

It has AlphaPose's interfaces and its documented traps: no entry for pictures without people, nested
`idx`, threads that wait for ever, no file or half of one, exit code 0 whatever happened. It "sees"
one person whose x is the number that a picture carries in blocks, and nobody in each fifth picture.
A file `trap` in the folder says what goes wrong. Its torch is a few lines, so that it starts fast.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

CONFIG = "configs/halpe_68.yaml"
CHECKPOINT = "pretrained_models/standin.pth"

LIGHT_TORCH = """
    import contextlib
    import numpy as np

    no_grad = contextlib.nullcontext

    class device(str):
        type = "cpu"
        index = None

    class cuda:
        is_available = staticmethod(lambda: False)

    class Tensor(np.ndarray):
        def to(self, device): return self
        def cpu(self): return self
        def nelement(self): return self.size
        def split(self, count): return [self[k:k + count] for k in range(0, len(self), count)]

    def as_tensor(values): return np.asarray(values, np.float32).view(Tensor)
    def cat(parts): return np.concatenate(parts).view(Tensor)
    def load(path, map_location): return {"weight": open(path, "rb").read()}
"""

FILES = {
    CONFIG: "DATA_PRESET:\n  TYPE: simple\n  NUM_JOINTS: 68\n",
    CHECKPOINT: "trained",
    "detector/yolo/data/yolov3-spp.weights": "darknet",
    "alphapose/__init__.py": "",
    "alphapose/utils/__init__.py": "",
    "alphapose/utils/roi_align/__init__.py": "from . import roi_align_cuda",
    "alphapose/models/__init__.py": "",
    "alphapose/utils/config.py": """
        from types import SimpleNamespace as N

        def update_config(path):
            words = open(path).read().split()
            joints = int(words[words.index("NUM_JOINTS:") + 1])
            return N(MODEL=N(TYPE="FastPose"), DATA_PRESET=N(NUM_JOINTS=joints))
    """,
    "alphapose/models/builder.py": """
        import torch, torchvision
        import alphapose.utils.roi_align

        class Network:
            def __init__(self, joints): self.joints = joints
            def load_state_dict(self, state): assert state["weight"] == b"trained"
            def to(self, device): return self
            def eval(self): return self
            def __call__(self, crops):
                return torch.as_tensor([[[float(c.ravel()[0]), k] for k in range(self.joints)]
                                        for c in crops])

        def build_sppe(model, preset_cfg):
            torchvision.models.resnet50(pretrained=True)
            return Network(preset_cfg.NUM_JOINTS)
    """,
    "detector/__init__.py": "",
    "detector/nms/__init__.py": "",
    "detector/apis.py": """
        import os
        from detector.nms import nms_cpu, nms_cuda
        from detector.nms.soft_nms_cpu import soft_nms_cpu

        class Detector:
            def load_model(self):
                assert os.path.isfile("detector/yolo/data/yolov3-spp.weights"), os.getcwd()
                print("Loading YOLO model..")

        def get_detector(opt):
            assert opt.sp and opt.detector == "yolo" and not opt.tracking
            return Detector()
    """,
    "alphapose/utils/detector.py": """
        import os
        from queue import Queue
        from threading import Thread
        import cv2
        import torch

        def trap():
            return open("trap").read() if os.path.exists("trap") else ""

        class DetectionLoader:
            def __init__(self, names, detector, cfg, opt, mode, batchSize, queueSize):
                assert mode == "image"
                self.paths = [os.path.join(opt.inputpath, name) for name in names]
                self.queue = Queue(queueSize)

            def start(self):
                Thread(target=self.work).start()

            def work(self):
                for path in self.paths:
                    picture = cv2.imread(path)[:, :, ::-1]
                    name = os.path.basename(path)
                    number = sum(1 << b for b in range(12) if picture[8, 16 * b + 8].mean() > 128)
                    if trap() == "thread dies" and number >= 3:
                        raise RuntimeError("CUDA out of memory (not really)")
                    if trap() == "exits with 0" and number >= 3:
                        os._exit(0)
                    boxes = crops = None
                    if number % 5 != 3:
                        boxes = torch.as_tensor([[number, 5, number + 40, 85]])
                        crops = torch.as_tensor([[number]])
                    self.queue.put((crops, picture, name, boxes, [0.9], [0.0], boxes))

            def read(self):
                return self.queue.get()

            def stop(self):
                pass
    """,
    "alphapose/utils/writer.py": """
        import json, os, time
        from queue import Queue
        from threading import Thread
        from alphapose.utils.detector import trap

        class DataWriter:
            def __init__(self, cfg, opt, queueSize):
                self.opt = opt
                self.queue = Queue(queueSize)

            def start(self):
                self.worker = Thread(target=self.update)
                self.worker.start()
                return self

            def save(self, *result):
                self.queue.put(result)

            def stop(self):
                self.save(None, None, None, None, None, None, None)
                self.worker.join()

            def update(self):
                final = []
                while True:
                    boxes, scores, ids, maps, crops, picture, name = self.queue.get()
                    if picture is None:
                        return self.write(final)
                    for k in range(0 if boxes is None else len(boxes)):
                        x1, y1, x2, y2 = (float(v) for v in boxes[k])
                        joints = [[x1 + float(m[0]) * 0 + i % 7, y1 + i, 0.9]
                                  for i, m in enumerate(maps[k])]
                        final.append({
                            "image_id": name, "category_id": 1, "score": 2.9,
                            "keypoints": [v for joint in joints for v in joint],
                            "box": [x1, y1, x2 - x1, y2 - y1], "idx": [[0.0]],
                        })

            def write(self, final):
                print("Results have been written to json.")
                text = json.dumps(final)
                if trap() == "hangs at the end":
                    time.sleep(600)
                if trap() == "writes nothing":
                    return
                if trap() == "writes half":
                    text = text[: len(text) // 2]
                if trap() == "other pictures":
                    text = text.replace('.png"', '7777.png"')
                if trap() == "other joints":
                    text = json.dumps([e | {"keypoints": e["keypoints"][:78]} for e in final])
                with open(os.path.join(self.opt.outputpath, "alphapose-results.json"), "w") as f:
                    f.write(text)
    """,
}

LIGHT = {
    "torch.py": LIGHT_TORCH,
    "torchvision/__init__.py": "from . import models",
    "torchvision/models.py": """
        def resnet50(pretrained=False):
            assert not pretrained, "a download"
        resnet18 = resnet34 = resnet101 = resnet152 = resnet50
    """,
    **dict.fromkeys(
        ("easydict.py", "natsort.py", "pycocotools.py", "halpecocotools.py"),
        '__version__ = "1.0"',
    ),
}


def make_checkout(root: Path) -> Path:
    """Write the stand-in into a new folder and return it."""
    for name, text in (FILES | LIGHT).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root
