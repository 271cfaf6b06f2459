_base_ = "./_base_/instance-seg.py"

backend_config = dict(type="openvino")
