# The same ONNX file, proven in OpenVINO with half the bits, which is faster on CPUs that compute in bfloat16.
_base_ = "./segmentation_onnxruntime_dynamic.py"

backend_config = dict(type="openvino-bf16")
