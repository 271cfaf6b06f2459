# The same ONNX file, proven in OpenVINO.
_base_ = "./segmentation_onnxruntime_dynamic.py"

backend_config = dict(type="openvino")
