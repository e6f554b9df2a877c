"""What the options of a checkpoint come to once the methods' own habits are filled in; refuses what cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.errors import IllegalMethod, InvalidPattern, did_you_mean
from core.jobs import MethodOptions, MethodRule
from core.methods.calibration import USUAL, Calibration
from core.methods.linear import Scheme, common_type
from core.methods.ranges import RangeSetting
from core.methods.smoothquant import ALPHA
from core.methods.table import (
    ACTIVATION,
    ACTIVATIONS,
    CHANNEL,
    EXPORT,
    FORM,
    GGUF_FORM,
    LOOKING,
    METHOD,
    OWN_PRESTEP,
    TENSOR,
    Choice,
    Method,
    list_refusal,
    mix_refusal,
    refusal,
    shared_remedy,
)
from core.texts import USUAL_LENGTH, window_length

# Up to so many bits a range that cuts the outermost weights off is better than the whole of it.
SEARCHED_BITS = 4
# What a static scale of activations covers where nothing is said.
STATIC_RANGE = "mse"
# What a form stores scales in, where that is not the type of the weights themselves.
SCALE_TYPES = {"gptq": "F16", "awq": "F16", "bf16": "F32", **dict.fromkeys(GGUF_FORM, "F16")}
# Version 1 of GPTQ's layout stores zero points less one, and has no room for the one below the lowest.
FIRST_ZERO = {"gptq": 1}


@dataclass(frozen=True, slots=True)
class InputSetting:
    """How activations meet the layers. rule, percent: what a static scale covers. alpha: SmoothQuant's."""

    rule: str
    percent: float
    alpha: float


@dataclass(frozen=True, slots=True)
class Settings:
    """A legal choice, with everything else that decides about the numbers.

    inputs: of activations. prestep: what is folded into the weights first, '' = nothing. samples, length: windows that
    are looked at, of so many tokens, at most. own_length, own_text: the user's. skip: names that stay as they are.
    rules: what names that a pattern finds get instead, None where they stay as they are. calibration: how a method that
    is calibrated works. beside: other forms that must hold the same numbers.
    """

    choice: Choice
    ranges: RangeSetting
    inputs: InputSetting
    prestep: str
    restricted: bool
    double: bool
    imatrix: str
    samples: int
    length: int
    own_length: bool
    own_text: bool
    skip: tuple[re.Pattern[str], ...]
    rules: tuple[tuple[re.Pattern[str], Settings | None], ...] = ()
    calibration: Calibration = USUAL
    beside: tuple[str, ...] = ()

    @property
    def forms(self) -> tuple[str, ...]:
        """All forms that hold the same numbers, its own first."""
        return self.choice.export, *self.beside

    @property
    def folders(self) -> tuple[str, ...]:
        """Those of them that are folders."""
        return tuple(form for form in self.forms if form in EXPORT)

    def scheme(self, dtype: str) -> Scheme:
        """The linear integers of weights stored in `dtype`."""
        choice = self.choice
        return Scheme(
            choice.bits,
            choice.group,
            choice.symmetric,
            not self.restricted,
            common_type(SCALE_TYPES.get(form, dtype) for form in self.forms),
            0 if choice.symmetric else max(FIRST_ZERO.get(form, 0) for form in self.forms),
        )

    def inputs_scheme(self, dtype: str) -> Scheme:
        """The integers of static activations, whose scale is stored in `dtype`."""
        return Scheme(8, TENSOR, self.choice.activations != "static-asymmetric", scale_type=dtype)

    def of(self, name: str) -> Settings | None:
        """What a tensor gets; None where the user left it out."""
        if any(pattern.search(name) for pattern in self.skip):
            return None
        return next((own for pattern, own in self.rules if pattern.search(name)), self)

    def rule_of(self, name: str) -> str:
        """The pattern of the rule that decides what a tensor gets; '' where none does."""
        if any(pattern.search(name) for pattern in self.skip):
            return ""
        return next((pattern.pattern for pattern, _ in self.rules if pattern.search(name)), "")

    @property
    def words(self) -> str:
        """What decides how long a matrix takes, in a few words; core.walk_speed reads them."""
        choice = self.choice
        flags = "".join(letter for letter, is_set in (("r", self.restricted), ("d", self.double)) if is_set)
        made = (choice.method, choice.export, choice.bits, choice.group, int(choice.symmetric))
        how = (choice.activations or "-", self.ranges.rule, flags or "-", self.calibration.order)
        return " ".join(map(str, (*made, *how)))

    def within(self, path: str, context: int) -> Settings:
        """The same for a model of such a context, 0 where it says none. Raises CannotRun where windows are longer."""
        looks = self.is_calibrated or self.choice.method in LOOKING
        wanted = self.length if self.own_length else None
        return replace(self, length=window_length(path, wanted, context)) if looks else self

    @property
    def tokens(self) -> int:
        """How many are looked at by a method that is calibrated, at most."""
        return self.samples * self.length

    @property
    def every(self) -> tuple[Settings, ...]:
        """These settings and those of all rules."""
        return self, *(own for _, own in self.rules if own is not None)

    @property
    def is_calibrated(self) -> bool:
        """Whether a text is needed: by a method of some layer, to fold scales, or for static activations."""
        return any(own._needs_text for own in self.every)

    @property
    def _needs_text(self) -> bool:
        return METHOD[self.choice.method].calibration or bool(self.prestep) or self.is_static

    @property
    def is_static(self) -> bool:
        """Whether activations have scales of their own."""
        return bool(self.choice.activations) and ACTIVATION[self.choice.activations].calibration


def settled(options: MethodOptions) -> Settings:
    """The settings that options ask for, those of every rule among them. Raises IllegalMethod, InvalidPattern."""
    _known(options.method, METHOD, "method")
    forms = (options.export, *options.beside)
    for form in forms:
        _known(form, FORM if form in GGUF_FORM else EXPORT, "export")
    check_together(forms)
    for rule in options.rules:
        _known(rule.method or options.method, METHOD, "method")
    own = _settled(options)
    rules = tuple((_pattern(rule.pattern), _ruled(options, rule)) for rule in options.rules)
    for form, other in ((form, other) for _, other in rules if other is not None for form in own.forms):
        found = mix_refusal(replace(own.choice, export=form), replace(other.choice, export=form))
        if found is not None:
            raise IllegalMethod(found.what, found.why, found.remedy)
    made = replace(own, rules=rules)
    if options.text and not made.is_calibrated:
        raise IllegalMethod(f"{options.method} needs no text", "", "Leave --text out")
    if made.calibration != USUAL and all(other.choice.method != "gptq" for other in made.every):
        names = "--act-order, --damp, --sinks, --asymmetric-target and --passes"
        raise IllegalMethod(f"{options.method} does not solve layers", "", f"Leave {names} out")
    return made


def check_together(forms: Sequence[str]) -> None:
    """Raises IllegalMethod for forms that cannot be made by one job."""
    refused = list_refusal(forms)
    if refused is not None:
        raise IllegalMethod(refused.what, refused.why, refused.remedy)


def _ruled(options: MethodOptions, rule: MethodRule) -> Settings | None:
    """The settings of one rule's layers; what they share with all others is taken as far as their method has it."""
    if rule.keep:
        return None
    method = METHOD[rule.method or options.method]
    if rule.asymmetric and not method.groups:
        raise IllegalMethod(f"{method.name} has its own groups and levels", "", "Leave asymmetric out of its rule")
    _check_rule(options, rule, method)
    bits = rule.bits or (options.bits if options.bits in method.bits else method.bits[0])
    shared_group = options.group if options.group in method.groups else None
    asymmetric = _either(rule.asymmetric, options.asymmetric and False in method.symmetric)
    is_ranged = bool(method.ranges) and options.range in ("", *method.ranges)
    is_searched = is_ranged and (options.range or _own_range(bits)) == "mse"
    changed = {
        "method": method.name,
        "bits": bits,
        "group": shared_group if rule.group is None else rule.group,
        "asymmetric": asymmetric,
        "activations": options.activations if rule.activations is None else rule.activations,
        "restricted": options.restricted and "restricted" in method.options and is_ranged and not asymmetric,
        "range": options.range if is_ranged else "",
        "double_quant": options.double_quant and method.name == options.method,
        "imatrix": options.imatrix if "imatrix" in method.options and is_searched else "",
        "activation_range": "",
        "prestep": "",
        "alpha": ALPHA,
        "rules": (),
        "skip": (),
    }
    return _settled(options.model_copy(update=changed))


def _check_rule(options: MethodOptions, rule: MethodRule, method: Method) -> None:
    """What a rule cannot change. Raises IllegalMethod."""
    if rule.activations == "" and "" not in method.activations:
        why = "it is made for activations that are rounded as well"
        raise IllegalMethod(f"{method.name} cannot round weights alone", why, "Use int in the rule")
    own = OWN_PRESTEP.get(method.name, "")
    if own and own != (options.prestep or OWN_PRESTEP.get(options.method, "")):
        why = "its scales are folded into all layers of a model or none"
        raise IllegalMethod(f"{method.name} cannot be a rule's alone", why, f"Add --prestep {own}")


def _either(own: bool | None, shared: bool) -> bool:
    return shared if own is None else own


def _settled(options: MethodOptions) -> Settings:
    method = METHOD[options.method]
    # A group that the form cannot hold is not taken without being asked for.
    forms = (options.export, *options.beside)
    groups = [group for group in method.groups if all(group in FORM[form].groups for form in forms)] or [TENSOR]
    bits, activations = options.bits or method.bits[0], options.activations or method.activations[0]
    choice = Choice(
        options.method,
        options.export,
        bits,
        _own_group(options, groups, is_multiplied=bool(activations) and bits == 8),
        method.symmetric[0] if method.groups and True not in method.symmetric else not options.asymmetric,
        activations,
    )
    _check_forms(choice, forms)
    rule = options.range or _own_range(choice.bits)
    _check_extras(options, rule)
    _check_activations(options, choice)
    return Settings(
        choice,
        RangeSetting(rule, options.percentile, options.range_low, options.range_high),
        InputSetting(options.activation_range or STATIC_RANGE, options.activation_percentile, options.alpha),
        options.prestep or OWN_PRESTEP.get(options.method, ""),
        options.restricted,
        options.double_quant,
        options.imatrix,
        min(options.samples, LOOKING.get(options.method, options.samples)),
        options.length or USUAL_LENGTH,
        options.length is not None,
        bool(options.text),
        tuple(_pattern(text) for text in options.skip),
        calibration=Calibration.of(options),
        beside=options.beside,
    )


def _check_forms(choice: Choice, forms: tuple[str, ...]) -> None:
    """Whether every form can hold a choice; the nearest that all can is named. Raises IllegalMethod."""
    for form in forms:
        found = refusal(replace(choice, export=form))
        if found is not None and len(forms) == 1:
            raise IllegalMethod(found.what, found.why, found.remedy)
        if found is not None:
            remedy = shared_remedy(choice, forms) or f"Leave {form} out of --export"
            raise IllegalMethod(found.what, found.why, remedy)


def _own_range(bits: int) -> str:
    return "mse" if bits <= SEARCHED_BITS else "minmax"


def _own_group(options: MethodOptions, groups: list[int], *, is_multiplied: bool) -> int:
    """The group asked for, else the method's own; 8-bit integers for 8-bit activations have one scale for each row."""
    if options.group is not None:
        return options.group
    return CHANNEL if is_multiplied else groups[0]


def _known(name: str, table: Iterable[str], word: str) -> None:
    if name not in table:
        known = list(table)
        raise IllegalMethod(
            f"There is no {word} {name}", "", did_you_mean(name, known) or f"Choose one of {', '.join(known)}"
        )


def _check_extras(options: MethodOptions, rule: str) -> None:
    """Options that belong to some methods only. Raises IllegalMethod."""
    method, row = options.method, METHOD[options.method]
    if not row.groups and (options.asymmetric or options.group is not None):
        raise IllegalMethod(f"{method} has its own groups and levels", "", "Leave --group and --asymmetric out")
    if (options.range and not row.ranges) or (options.restricted and "restricted" not in row.options):
        raise IllegalMethod(f"{method} finds its ranges by itself", "", "Leave --range and --restricted out")
    if options.range not in ("", *row.ranges):
        raise IllegalMethod(f"{method} has no ranges of the rule {options.range}", "", "Use --range mse")
    if options.restricted and options.asymmetric:
        raise IllegalMethod("Only symmetric integers can leave the lowest out", "", "Leave --restricted out")
    if options.double_quant and "double_quant" not in row.options:
        raise IllegalMethod(f"{method} has no double quantization", "", "Use --method nf4, or leave it out")
    if options.imatrix and "imatrix" not in row.options:
        raise IllegalMethod(f"{method} does not use an importance matrix", "", "Leave --imatrix out")
    if options.imatrix and rule != "mse":
        raise IllegalMethod("An importance matrix is used by the search by error only", "", "Use --range mse")
    if rule == "given" and options.range_low == options.range_high == 0:
        raise IllegalMethod("A range by hand needs its ends", "", "Use --range LOW:HIGH")
    if rule == "entropy" and (options.group or 0) > 0:
        why = "a group has too few weights for a histogram"
        raise IllegalMethod("The entropy rule needs whole rows or tensors", why, "Use --group channel")


def _check_activations(options: MethodOptions, choice: Choice) -> None:
    """Options about activations. Raises IllegalMethod."""
    own = OWN_PRESTEP.get(options.method, "")
    prestep = options.prestep or own
    if options.prestep and "prestep" not in METHOD[options.method].options:
        why = f"{own} is folded into it already" if own else "scales are folded before linear integers only"
        raise IllegalMethod(f"{options.method} has no pre-step", why, "Leave --prestep out")
    if prestep == "smoothquant" and not choice.activations:
        why = "it takes outliers out of activations, and these stay in 16 bits"
        raise IllegalMethod("SmoothQuant helps nothing here", why, "Use --prestep awq, or add --activations dynamic")
    if prestep and options.imatrix:
        why = "the columns' importance is measured on the text anew, after scales were folded"
        raise IllegalMethod("An importance matrix does not fit folded weights", why, "Leave --imatrix out")
    if options.alpha != ALPHA and prestep != "smoothquant":
        raise IllegalMethod("--alpha belongs to SmoothQuant", "", "Use --prestep smoothquant, or leave it out")
    kinds = [row.name for row in ACTIVATIONS if row.calibration]
    if options.activation_range and choice.activations not in kinds:
        why = "only static activations have a range of their own"
        raise IllegalMethod("--activation-range has nothing to decide", why, f"Add --activations {kinds[0]}")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidPattern(text, str(error)) from error
