"""What goes where: the house of design.md. Read by mover.py; nothing here is run by dermlens.

MODULES: (new module, one line on what it holds, the old modules in reading order).
Old modules that are not named stay if their package stays, and are listed as an error if it does not.
"""

D = "dermlens."


def _rows(text: str) -> list[tuple[str, str, list[str]]]:
    """`new | about | old old …`, a line each; names without `dermlens.`, `^` for the package above."""
    rows = []
    for line in text.strip().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        new, about, olds = (part.strip() for part in line.split("|"))
        new = new if new.split(".")[0] == "paper" else D + new
        rows.append((new, about or None, [D + one for one in olds.split()]))
    return rows


MODULES = _rows("""
# ------------------------------------------------------------------ top: pure
errors    |  | errors
labels    |  | labels
metrics   |  | metrics
files     | Files that are either whole or absent, and locks: one process works on a file at a time. | atomic lock
targets   |  | targets
documents | Documents that people write: read strictly, checked against a class, mistakes named by place and key. | section yaml_text validation
sections  | What a recipe says of training and evaluation. Free of torch: a recipe's mistakes show at once. | imbalance.config training.config evaluation.config
recipe    |  | recipe
runs      |  | runs

# ------------------------------------------------------------------ predict: free of torch and pandas
predict.pictures.images    | Safe decoding: someone's file in, RGB pixels or one clear sentence out. | data.scans data.images
predict.pictures.structure | What a picture's file announces, checked before a decoder allocates or loops for it. | data.structure data.jpeg_colours
predict.pictures.dicom     |  | data.dicom
predict.pictures.preprocessing | From a file of any size to the network's square: colours, crop, quality, test-time views. | data.colour_constancy data.crops data.views decision.quality
predict.sources.vocabulary | The words for a patient's age, sex and body site, one vocabulary for training and prediction. | data.body_sites data.vocabulary
predict.metadata      | Age, sex and body site: the words of tables and people, and the numbers that the metadata branch reads. | data.sites data.metadata data.patients
predict.sources.folders    | What lies in a data folder, which file a table means, and what its image is called. | data.readers.survey data.readers.identity
predict.sources.tables     | CSV files as text, what their columns are called, and all that is wrong with them in one list. | formulas data.readers.sheet data.column_names data.problems
predict.requests      |  | deploy.requests
predict.picture       |  | deploy.pictures
predict.decoding      | Processes that decode pictures for this one, behind limits of memory and time. | deploy.decoder deploy.workers
predict.network       | Networks that answer: an ONNX file under ONNX Runtime, pixels and metadata in, logits and features out. | deploy.cores deploy.onnx_runtime deploy.engines.network deploy.network
predict.document      | model.json: the network and its input, and the decision that makes its scores answers. Free of torch. | decision.document decision.dermoscopy models.document
predict.model_files   | The files of a model's folder: their manifest, and what was measured of it. | models.manifest deploy.measured
predict.decision      | From scores to a decision: calibrated probabilities, a diagnosis, a set of diagnoses, or abstention. | decision.probabilities decision.ood decision.sidecar decision.answer decision.columns
predict.answers       | What a model says of one image: an object, JSON, a row, or text, for a stated class prior. | deploy.answers deploy.prior deploy.words deploy.screen
predict.predictor     | Images in, answers out: from the base install, without torch, pandas or network. | deploy.stream deploy.predictor
predict.journal       |  | deploy.journal

# ------------------------------------------------------------------ data
data.config    |  | data.config
data.table     |  | data.table
data.readers.account  | What a reader made of a data set, in sentences, the values of its rows, and what gives a class away. | data.account data.values data.telltale
data.readers.names    | Diagnoses as sources spell them, to ours, and guesses at columns that the user may confirm. | data.diagnosis_names data.readers.diagnoses data.readers.guesses
data.readers.tables   | Tables with one row an image: HAM10000, the ISIC archive, one-hot columns, any CSV with a column map. | data.readers.columns data.readers.onehot
data.readers.source   | Which form a data set has, and its rows as text; `table` types and checks them. | data.readers.roles data.readers.origin data.readers.class_folders data.readers.source
data.duplicates | Images that are there twice, and fingerprints that are close for copies. | data.perceptual data.duplicates
data.verify    | `dermlens verify`: what a data set holds, what is wrong with it, and what is good to know. | data.verify
data.sources   |  | data.sources
data.download  |  | data.download
data.fetch     | `dermlens fetch`: a published data set, from where its authors keep it, on their terms. | data.unpack data.fetch
data.manifest  |  | data.manifest
data.protocols | How images are drawn into roles: by image (`paper`), by lesion (`grouped`), by single lesion, by source. | data.lesion_groups data.protocols data.source_roles
data.split     | Roles for images: made by a protocol or read from a manifest, then checked for what they let through. | data.absent data.leak data.siblings data.shuffled data.split
data.cache     |  | data.cache
data.loaders   | Batches straight from the pixel cache, in a drawn or a planned order. | data.offline_plan data.loaders
data.augment.colour       | Other light and another camera: maps of colours, filters that no such map can be, coarser sensors. | data.augment.colour data.augment.filters data.augment.camera
data.augment.geometry     | Random views of a batch, squares cut out of it, and images of two. | data.augment.geometry data.augment.cutout data.augment.mix
data.augment.augmentation | All that a recipe's `augment` does to training images and their metadata. | data.augment.policy data.augment.augmentation data.augment.metadata_dropout
data.synthetic.canvas     | The sheet a synthetic lesion is painted on: noise, maps of what absorbs light, and brushes. | data.synthetic.fields data.synthetic.canvas
data.synthetic.lesions    | The seven diagnoses, painted after the structures by which dermoscopy atlases tell them apart. | data.synthetic.melanocytic data.synthetic.keratinocytic data.synthetic.dermal data.synthetic.lesions
data.synthetic.photograph | From a painted lesion to a picture: skin, the angle it is seen at, light, and what lies between. | data.synthetic.artefacts data.synthetic.photograph
data.synthetic.folder     | A folder of synthetic lesions and their patients in HAM10000's layout, and a sheet to look at them. | data.synthetic.patients data.synthetic.folder

# ------------------------------------------------------------------ models
models.table           |  | models.table
models.config          |  | models.config
models.soft_attention  |  | models.soft_attention
models.metadata_branch |  | models.metadata_branch
models.architectures   | Networks that no library has as the authors ran them, and the weights that Keras starts layers with. | models.keras_start models.nasnet_mobile models.vgg16_authors
models.cuts            | Backbones: created by their library, put into Keras's form, loaded, cut. | models.keras_form models.cuts
models.classifier      | The classifier: backbone, attention, pooling, metadata, one linear layer, and its exact evidence. | models.head models.classifier models.evidence
models.saved           |  | models.saved
models.summary         |  | models.summary
models.starts          | ImageNet starts as files: listed, written, and brought to their usual norms. | models.pretrained.listing models.pretrained.writing models.pretrained.folded
models.pretrained.registry |  | models.pretrained.registry
models.pretrained.keras_h5 |  | models.pretrained.keras_h5
models.pretrained.sources  | ImageNet starts, wherever they come from: a hub, a Python package, a file. | models.pretrained.in_order models.pretrained.hub models.pretrained.packages models.weights

# ------------------------------------------------------------------ training
training.train       |  | training.train
training.fit         | From a recipe and a data folder to a run directory, in one go or in several, by one process at a time. | training.lock training.fit
training.task        | The Lightning task: what one step and one epoch are, and what an epoch's numbers are made of. | training.tally training.task
training.inputs      |  | training.inputs
training.batches     |  | training.batches
training.losses      | Losses by the config that sets them: one decorated function adds one. And learning from soft labels. | imbalance.registry imbalance.losses.cross_entropy imbalance.losses.focal imbalance.losses.ldam imbalance.losses.logit_adjusted imbalance.losses.balanced_softmax training.distillation
training.sampling    | Which images make up an epoch, and how the classes weigh. | imbalance.samplers imbalance.weights
training.optimisers  | The optimiser that a recipe asks for. | training.keras_adam training.optimisers
training.checkpoints | Checkpoints to resume from, what a run began with, when to stop, and which weights to keep. | training.checkpoint training.begun training.stopping training.ema
training.callbacks   | What happens around steps and epochs: learning rates, frozen parts, the history, trackers. | training.schedules training.freeze training.history training.tracking
training.machine     | The machine: which processor trains, several processes of one run, and memory that they keep. | training.device training.processes training.memory
training.predict     |  | training.predict

# ------------------------------------------------------------------ calibration
calibration.labelled      |  | decision.labelled
calibration.probabilities | Calibrated probabilities and the rule that names a diagnosis, fitted on roles that nothing was trained on. | decision.fit_scaling decision.fit_rule
calibration.abstention    | What an answer abstains by: conformal sets, and a score of how unlike the training images an image is. | decision.fit_sets decision.fit_ood
calibration.dermoscopy    | Tell dermoscopy from other pictures: fitted and measured on pictures of both kinds. | decision.fit_dermoscopy evaluation.dermoscopy
calibration.decision      | Give a run its decision: fitted on its own roles, kept in its model, its predictions answered anew. | decision.fit evaluation.calibrate

# ------------------------------------------------------------------ evaluation
evaluation.predictions |  | evaluation.predictions
evaluation.intervals   | How far a number may be off: bootstraps over lesions, and laws for few images and few folds. | evaluation.intervals evaluation.proportions evaluation.recall_intervals evaluation.fold_intervals
evaluation.measures    | Sections of metrics.json: reliability, operating points, and what became of the images that were answered. | evaluation.calibration evaluation.calibration_line evaluation.operating_points evaluation.answers
evaluation.subgroups   |  | evaluation.subgroups
evaluation.score       |  | evaluation.score
evaluation.overlap     | What another set has in common with a run's split: names, copies, lesions. | evaluation.overlap evaluation.role_copies
evaluation.ledger      | The ledger of opened tests: who looked at a test role, and when. | evaluation.ledger evaluation.openings
evaluation.evaluate    | `dermlens evaluate`: a run's own roles, its sealed test role, or any other labelled set. | evaluation.evaluate evaluation.teaching
evaluation.comparison  | Runs side by side on the images they share, with paired intervals, and scores on a terminal. | evaluation.comparison evaluation.tables
evaluation.transfer    |  | evaluation.transfer
evaluation.publish     |  | evaluation.publish

# ------------------------------------------------------------------ report
report.page            |  | evaluation.report.page
report.card            |  | evaluation.report.card
report.checklists      |  | evaluation.report.checklists
report.provenance      | Where a model comes from: how its run was made, its exported files, its licence. | evaluation.report.made evaluation.report.exported evaluation.report.licence
report.run_data        | What a report reads of a run: history, counts, people, images, its decision, and scores elsewhere. | evaluation.report.beside evaluation.report.data
report.interpretation  |  | evaluation.report.words
report.tables          | The tables of the report, as plain cells; the template only draws them. | evaluation.report.numbers evaluation.report.tables evaluation.report.failures
report.decision_tables | Tables of decisions: melanoma and malignancy, the rule, sets, abstention, and other data sets. | evaluation.report.detection evaluation.report.decided evaluation.report.outside
report.plots           | One look for every figure, and plain ones: confusion matrices, classes and metadata. | evaluation.figures.style evaluation.figures.confusion evaluation.figures.data
report.curves          | Curves: training, ROC, precision–recall, reliability, decisions, coverage. | evaluation.figures.curves evaluation.figures.calibration evaluation.figures.decision
report.figures         | The figures of a report, and bars that compare runs: drawn, saved, ready to stand inside the page. | evaluation.figures.bars evaluation.report.figures
report.gallery         | The pictures a person should look at: the surest errors, and what the network looked at. | evaluation.figures.attention evaluation.figures.gallery evaluation.report.gallery

# ------------------------------------------------------------------ export
export.notices      |  | deploy.papers
export.onnx_export  | A saved model as ONNX, checked against its network, and what every engine's file computes. | deploy.export deploy.engines.wrapped
export.edge         | Engines that open their files without torch: OpenVINO and LiteRT. | deploy.engines.openvino deploy.engines.litert
export.engines      | Files of a saved model for several engines, a row each. | deploy.engines.onnx deploy.engines.torch_program deploy.engines.table
export.int8         | From fp32 to int8, where the loss is known to be small: a table's answers compared, paired over lesions. | deploy.table_answers deploy.gate deploy.quantise
export.verification |  | deploy.verify_export
export.formats      |  | deploy.export_formats

# ------------------------------------------------------------------ explain
explain.network      | A saved model as a function of squares and metadata, and what every explanation gives. | explain.heat explain.network
explain.methods      | The methods, a row each: a new one is a function and a row of the table. | explain.baselines explain.attention explain.evidence explain.grad_cam explain.occlusion explain.kernel_shap explain.methods
explain.faithfulness | Whether a heat map shows what the model goes by: measures with known limits, and a random network. | explain.faithfulness explain.randomised
explain.explained    | One image explained, as an object and in sentences. | explain.explained explain.words
explain.neighbours   |  | explain.neighbours
explain.figure       |  | explain.figure

# ------------------------------------------------------------------ studies
studies.folds               | The folds of a recipe: the same run several times, other lesions held out each time. | studies.folds studies.out_of_fold studies.arm_files
studies.scores              | The numbers by which studies are read, each under a stated decision, and arms compared in pairs. | studies.rules studies.scores studies.arms
studies.crossfit            |  | studies.crossfit
studies.matrix              |  | studies.matrix
studies.ablation            | An ablation: every arm of a matrix cross-fitted on the same folds, from the same start, at one budget. | studies.ablation studies.paper.folds_of
studies.ablation_page       | An ablation as a page, a forest plot, and on a terminal. | studies.ablation_page studies.figure studies.tables
studies.ensemble            |  | studies.ensemble
studies.soup                |  | studies.soup
studies.reliability         | What a run's decision is worth, as tables and figures: calibration, sets, abstention. | evaluation.decision_report evaluation.run_decision
studies.missing_metadata    | What a model is worth when less is known of the patient. | evaluation.told
studies.out_of_distribution | How images of another kind, and of a class left out of training, stand out to a network. | evaluation.strangers evaluation.far_ood studies.near_ood
studies.by_source           | How a network does on a source that took no part in its training, and how well it tells sources apart. | studies.by_source studies.source_probe

# ------------------------------------------------------------------ serve
serve.app        | The service: one process, one model, a few addresses. | serve.model serve.explained serve.app
serve.requests   | A request's body and its pictures: taken apart in memory, within limits, by a process of its own. | serve.asked serve.bodies serve.body serve.reader
serve.engine     |  | serve.engine
serve.limits     | What a service may be asked to do at once, what it counts, and how it refuses. | serve.config serve.problems serve.metrics
serve.middleware | What every request passes and every response bears: host, size, time, key, headers; and the log. | serve.headers serve.log serve.hosts serve.guard
serve.openapi    |  | serve.openapi
serve.server     |  | serve.server
serve.page       |  | serve.page

# ------------------------------------------------------------------ command line
cli        |  | cli
cli.app    | What every verb shares: the app, the options that several take, tables, and how errors end. | streams console cli.app
cli.use    | Verbs that use a model, without torch: predict, serve. | cli.predict cli.serve
cli.explain |  | cli.explain
cli.train  | Verbs about runs: train one, score it, report it, compare it. | cli.runs
cli.data   |  | cli.data
cli.models | Verbs about what can be trained: networks, recipes, ImageNet weights. | cli.models cli.weights
cli.analyze | Verbs about what a decision is worth: its tables and figures, and pictures of another kind. | cli.decisions
cli.studies |  | cli.studies

# ------------------------------------------------------------------ the study of the published paper, outside the wheel
paper.study          | The paper's study: its systems, its controlled experiments, and what there is to run of both. | studies.paper.tables studies.paper.systems studies.paper.study
paper.plan           |  | studies.paper.plan
paper.work           |  | studies.paper.work
paper.probe          |  | studies.paper.probe
paper.contrasts      | Planned contrasts: what one changed thing does on the same lesions, and how sure that is. | studies.paper.choices studies.paper.contrasts studies.paper.enough_draws
paper.curves         |  | studies.paper.curves
paper.keras_twin     |  | studies.paper.keras_twin
paper.questions      |  | studies.paper.questions
paper.readings       | What trained arms say without another training: metadata alone, other metadata, where attention looks. | studies.paper.metadata_alone studies.paper.told studies.paper.readings
paper.attention_mass |  | studies.paper.attention_mass
paper.publication    | What of the study may be published, and runs made again beside it. | studies.paper.published studies.paper.again studies.paper.words
paper.report.page    |  | studies.paper.report.page
paper.report.cells   | The cells of the paper's tables: printed, in the notebook behind it, and ours. | studies.paper.report.ours studies.paper.report.cells studies.paper.report.cell_files studies.paper.report.recipes
paper.report.answers | The questions' answers: planned contrasts, where attention goes, and what was looked at afterwards. | studies.paper.report.answers studies.paper.report.afterwards
paper.report.figures | The paper's figures again, forest plots of the questions, and pictures on an unpublished page. | studies.paper.report.figures studies.paper.report.annex
""")

# Packages of the new tree, and the one line of an __init__ that is new.
PACKAGES = {
    "dermlens": "",
    "dermlens.cli": "",
    "dermlens.recipes": "Published experiments, one YAML file each.",
    "dermlens.predict": "Everything that answers, without torch or pandas: pictures, metadata, the network, answers.",
    "dermlens.predict.pictures": "From a picture's file to the network's square: structure, decoding, DICOM, preprocessing.",
    "dermlens.predict.sources": "What people give: folders, tables, and the words in them.",
    "dermlens.data": "",
    "dermlens.data.readers": "From a source's own files to rows of text; `data.table` types and checks them.",
    "dermlens.data.augment": "What is drawn anew for each training image and step, on batches.",
    "dermlens.data.synthetic": "Lesions that nobody has: seven classes, drawn, to test the whole system without real images.",
    "dermlens.models": "",
    "dermlens.models.pretrained": "",
    "dermlens.training": "From a recipe to a trained run: losses, sampling, the Lightning task, optimisers, fit and resume.",
    "dermlens.calibration": "Fitted here and applied in `predict`: probabilities, sets, abstention, dermoscopy.",
    "dermlens.evaluation": "From predictions to numbers.",
    "dermlens.report": "The report page, the model card, and the figures and tables in both.",
    "dermlens.export": "From a trained model to files that answer without torch, each verified before it is kept.",
    "dermlens.explain": "",
    "dermlens.studies": "Experiments of several trainings, and what a trained model is worth beyond its test images.",
    "dermlens.serve": "",
    "dermlens.serve.page": "",
    "paper": "The study of the published paper, outside the wheel: its systems, questions and report.",
    "paper.report": "The report of the paper's study: its tables and figures again, and what is true of its claims.",
}
# Old packages whose __init__ holds nothing but re-exports or a line of text, which PACKAGES gives anew.
GONE = [
    "dermlens.data.augment", "dermlens.data.synthetic", "dermlens.training", "dermlens.evaluation", "dermlens.studies",
    "dermlens.studies.paper", "dermlens.studies.paper.report", "dermlens.imbalance.losses", "dermlens.recipes",
    "dermlens.data.readers", "dermlens.cli.paper", "tests.cli.test_paper",
]

MOVES = {
    "dermlens.evaluation.decision_report:write_table": "dermlens.evaluation.predictions",
    "dermlens.data.config:ClassFacts": "dermlens.predict.document",
    "dermlens.data.images:image_size": "dermlens.predict.pictures.preprocessing",
    "dermlens.data.images:read_image": "dermlens.predict.pictures.preprocessing",
    "dermlens.evaluation.told:MEASURES": "dermlens.report.run_data",
}
# Renames of symbols: at the definition and at all uses, by qualified resolution.
RENAMES = {
    "dermlens.data.jpeg_colours:FRAMES": "FRAME_MARKERS",
    # clashes of merged modules
    "dermlens.imbalance.registry:F": "AnyLoss",
    "dermlens.evaluation.tables:estimate": "estimate_text",
    "dermlens.deploy.engines.onnx:write": "write_onnx",
    "dermlens.deploy.engines.onnx:load": "load_onnx",
    "dermlens.deploy.engines.openvino:write": "write_openvino",
    "dermlens.deploy.engines.openvino:load": "load_openvino",
    "dermlens.deploy.engines.litert:write": "write_litert",
    "dermlens.deploy.engines.litert:load": "load_litert",
    "dermlens.deploy.engines.torch_program:write": "write_torch",
    "dermlens.deploy.engines.torch_program:load": "load_torch",
    "dermlens.studies.tables:_cell": "_printed_cell",
    "dermlens.studies.paper.report.afterwards:COLUMNS": "AFTERWARDS_COLUMNS",
    # names that said enough in a file of their own
    "dermlens.training.lock:NAME": "LOCK_FILE",
    "dermlens.training.lock:held": "locked",
    "dermlens.training.checkpoint:NAME": "CHECKPOINT_FILE",
    # the field's words
    "dermlens.training.inputs:Sorted": "RolePlan",
    "dermlens.training.inputs:read_sorted": "read_role_plan",
    "dermlens.training.inputs:told_of": "as_the_network_sees",
    "dermlens.deploy.gate:MAY_LOSE": "LARGEST_LOSS",
    "dermlens.data.sources:Remote": "RemoteFile",
    "dermlens.evaluation.teaching:taught": "distilled",
    "dermlens.evaluation.report.beside:read_strangers": "read_out_of_distribution",
    "dermlens.evaluation.report.beside:STRANGERS": "OUT_OF_DISTRIBUTION",
    "dermlens.evaluation.report.beside:read_told": "read_missing_metadata",
    "dermlens.evaluation.report.beside:TOLD": "MISSING_METADATA",
    "dermlens.evaluation.report.outside:strangers_table": "out_of_distribution_table",
    "dermlens.evaluation.report.outside:told_table": "missing_metadata_table",
    "dermlens.evaluation.report.outside:TOLD_DIGITS": "METADATA_DIGITS",
    "dermlens.evaluation.report.made:STRANGERS": "OUT_OF_DISTRIBUTION_COMMANDS",
    "dermlens.evaluation.strangers:stranger_table": "out_of_distribution_table",
    "dermlens.evaluation.told:untold": "without_metadata",
    "dermlens.evaluation.told:TOLD": "KNOWN",
    "dermlens.evaluation.told:told_less": "missing_metadata",
    "dermlens.evaluation.told:MEASURES": "METADATA_MEASURES",
    "dermlens.studies.near_ood:near_ood": "unseen_class",
    "dermlens.studies.soup:TOLD": "RECORDED",
    "dermlens.studies.paper.again:Beside": "Rerun",
    "dermlens.studies.paper.again:beside": "reruns",
    "dermlens.studies.paper.told:told": "with_other_metadata",
    "dermlens.studies.paper.told:TOLD": "OTHER_METADATA",
    "dermlens.deploy.requests:strangers": "unmatched",
    "dermlens.deploy.papers:write_papers": "write_notices",
    "dermlens.serve.asked:Asked": "ImageRequest",
    "dermlens.decision.fit_dermoscopy:Seen": "Features",
}
ALIASES = {
    ("dermlens.export.int8", "dermlens.evaluation.intervals:Numbers"): "Statistics",
}
# Imports of a new module that are for annotations alone: they break circles.
TYPE_ONLY = {
    "dermlens.predict.answers": ["dermlens.predict.predictor"],
}
DOCSTRINGS = {}
# What stands above a part of a merged file, where its old docstring's first line would not do.
HEADINGS = {
    "dermlens.imbalance.registry": "Losses by the config that sets them.",
    "dermlens.deploy.engines.table": "The engines, a row each. A new one is two functions above and a row here.",
    "dermlens.explain.methods": "The methods, a row each. A new one is a function above and a row here.",
    "dermlens.evaluation.report.beside": "Files that a run may have: its decision, reports of it, scores elsewhere.",
    "dermlens.evaluation.report.outside": "What lies outside: images of other kinds, other sets, missing metadata.",
    "dermlens.evaluation.strangers": "How well out-of-distribution scores tell other images from new ones of the known kind.",
    "dermlens.evaluation.far_ood": "Images of another kind altogether, shown to a trained run.",
    "dermlens.evaluation.teaching": "What else reached a network: the choice of an epoch, and the labels of teachers.",
    "dermlens.evaluation.evaluate": "`dermlens evaluate`: a run's own roles, its sealed test role, or any other labelled set.",
    "dermlens.training.keras_adam": "Adam as Keras 2 has it: ε is added to a √v that is not bias-corrected.",
    "dermlens.training.distillation": "Learning from soft labels.",
    "dermlens.data.lesion_groups": "Which images show one lesion: same lesion id, a known second id, or the very same file.",
    "dermlens.serve.problems": "How a request is refused: a status and one sentence.",
}
# Old modules whose docstring stays whole in the merged module's, as a table in it would not fit a comment.
WHOLE_DOCSTRING = ["dermlens.data.vocabulary", "dermlens.data.sites"]
# Words that are renamed in strings, comments and documents, as nothing else is called so.
TEXT_RENAMES = {
    "stranger_table": "out_of_distribution_table",
    "strangers_table": "out_of_distribution_table",
    "told_table": "missing_metadata_table",
    "read_sorted": "read_role_plan",
    "told_of": "as_the_network_sees",
    "MAY_LOSE": "LARGEST_LOSS",
    "write_papers": "write_notices",
}

# ------------------------------------------------------------------ files that are no Python
RESOURCES = {
    "src/dermlens/evaluation/report/templates": "src/dermlens/report/templates",
    "src/dermlens/evaluation/report/checklists.csv": "src/dermlens/report/checklists.csv",
    "src/dermlens/studies/paper/report/templates": "paper/report/templates",
    "src/dermlens/studies/paper": "paper",
}
FOLDERS = {
    "src/dermlens/deploy/engines": "src/dermlens/export/engines.py",
    "src/dermlens/deploy": "src/dermlens/export",
    "src/dermlens/imbalance/losses/NAME.py": "src/dermlens/training/losses.py",
    "src/dermlens/imbalance/losses": "src/dermlens/training/losses.py",
    "src/dermlens/imbalance": "src/dermlens/training",
    "src/dermlens/evaluation/report": "src/dermlens/report",
    "src/dermlens/studies/paper": "paper",
    "tests/imbalance": "tests/training",
    "tests/decision": "tests/predict",
    "tests/deploy": "tests/export",
    "tests/studies/paper": "tests/paper",
}
TEXT_PACKAGES = {
    "dermlens.evaluation.report": "dermlens.report",
    "dermlens.studies.paper.report": "paper.report",
    "dermlens.studies.paper": "paper",
    "dermlens.imbalance.losses": "dermlens.training.losses",
    "dermlens.imbalance": "dermlens.training",
}
def _study(command: str):
    """A command of the study; spaces before a column are kept."""

    def become(m):
        new = m.expand(command)
        pad = m.groupdict().get("pad") or ""
        return new + (" " * (len(m[0]) - len(new)) if pad else "")

    return become


# (pattern, replacement) in strings, comments and documents
TEXT_SUBS = [
    (r"dermlens study paper --data DIR --out (?P<o>OUT|SHARED) --publish(?P<pad>  +)?", _study(r"python -m paper publish --data DIR --out \g<o>")),
    (r"dermlens study paper --plan(?P<pad>  +)?", _study("python -m paper plan")),
    (r"dermlens study paper --report(?P<pad>  +)?", _study("python -m paper report")),
    (r"`dermlens study paper`(?P<pad>  +)?", _study("`python -m paper`")),
    (r"dermlens study paper --data DIR --out (?P<o>OUT|SHARED)(?P<pad>  +)?", _study(r"python -m paper run --data DIR --out \g<o>")),
]
TEXT_FILES = [
    ("imbalance/config.py", "sections.py"),
]

# ------------------------------------------------------------------ tests
TEST_FOLDERS = [
    ("tests.decision", "tests.predict"),
    ("tests.deploy.engines", "tests.export"),
    ("tests.deploy", "tests.predict"),
    ("tests.imbalance", "tests.training"),
    ("tests.studies.paper.report", "tests.paper.report"),
    ("tests.studies.paper", "tests.paper"),
]
# Which module a test file is about, where its name does not say so.
TEST_OF = {}
TESTS = {
    "tests.decision.conftest": "tests.decisions",
    "tests.deploy.conftest": "tests.saved_models",
    "tests.deploy.engines.conftest": "tests.engines",
    "tests.evaluation.conftest": "tests.scored_runs",
    "tests.data.conftest": "tests.data.conftest",
    "tests.models.conftest": "tests.models.conftest",
    "tests.training.conftest": "tests.tiny_runs",
    "tests.studies.conftest": "tests.tiny_studies",
    "tests.decision.test_document": "tests.predict.test_decision_document",
    "tests.models.test_document": "tests.predict.test_document",
    "tests.studies.test_contrasts": "tests.paper.test_contrasts",
    "tests.deploy.test_papers": "tests.export.test_notices",
    "tests.deploy.test_export_verb": "tests.export.test_export_verb",
    "tests.evaluation.test_beside": "tests.report.test_run_data",
    "tests.evaluation.test_report_data": "tests.report.test_report_data",
    "tests.evaluation.test_made": "tests.report.test_provenance",
    "tests.evaluation.test_licence": "tests.report.test_licence",
    "tests.evaluation.test_card": "tests.report.test_card",
    "tests.evaluation.test_card_numbers": "tests.report.test_card_numbers",
    "tests.evaluation.test_checklists": "tests.report.test_checklists",
    "tests.evaluation.test_figures": "tests.report.test_figures",
    "tests.evaluation.test_report": "tests.report.test_page",
    "tests.evaluation.test_strangers": "tests.studies.test_out_of_distribution",
    "tests.evaluation.test_decision_report": "tests.studies.test_reliability",
    "tests.evaluation.test_run_decision": "tests.studies.test_run_decision",
    "tests.studies.test_near_ood": "tests.studies.test_unseen_class",
    "tests.decision.test_fit": "tests.calibration.test_decision",
    "tests.evaluation.test_calibrate": "tests.calibration.test_calibrate",
    "tests.cli.test_decisions": "tests.cli.test_analyze",
    "tests.test_atomic": "tests.test_files",
}
