# How all trainings log, save and are seeded. Everything stands under one key, so that it combines with any config of
# MMSegmentation or MMDetection, which then binds it.
# For Weights & Biases add dict(type="WandbVisBackend", init_kwargs=dict(project="lesionseg")).
_vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]

output = dict(
    custom_imports=dict(imports=["lesionseg.openmmlab"]),
    vis_backends=_vis_backends,
    visualizer=dict(vis_backends=_vis_backends),
    log_processor=dict(type="ReservedMemoryLogProcessor", by_epoch=False),
    default_hooks=dict(
        logger=dict(log_metric_by_epoch=False),
        checkpoint=dict(
            type="ValidatedCheckpointHook",
            by_epoch=False,
            interval=None,  # as often as the training validates
            max_keep_ckpts=2,
            save_best="lesion/jaccard",
            rule="greater",
        ),
    ),
    custom_hooks=[dict(type="RandomStateHook"), dict(type="ValidationLossHook"), dict(type="LearningCurveHook")],
    randomness=dict(seed=0),
)
