from node.analysis.network import Class

SIDES = (
    (Class.MULTIFIDUS_LEFT, Class.MULTIFIDUS_RIGHT),
    (Class.ERECTOR_LEFT, Class.ERECTOR_RIGHT),
    (Class.PSOAS_LEFT, Class.PSOAS_RIGHT),
    (Class.QUADRATUS_LEFT, Class.QUADRATUS_RIGHT),
)
