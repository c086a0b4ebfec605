"""What the interface says, in English and in Persian; names of rooms, fields and rules stay as they are."""

from dataclasses import dataclass

from tuti.pipelines.report import abilities

SMALL, LARGE = 1, 10**9
"""Parameters of a model of each kind"""


@dataclass(frozen=True)
class Language:
    """One language of the interface."""

    code: str
    direction: str
    own_name: str
    strings: dict[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The string of this name, its places filled."""
        return self.strings[key].format(**values)


ENGLISH = {
    "studio": "Tuti Studio",
    "skip": "Skip to the content",
    "rooms": "Rooms",
    "runs": "Runs",
    "chat": "Chat",
    "pages": "Pages",
    "language": "Language",
    "gallery_lead": "Each room is one system, with its own stages. Choose a stage to start a run of it.",
    "stages": "Stages",
    "start_stage": "Start {stage}",
    "runs_lead": "Every stage writes a run: a folder with its configuration, events and results.",
    "no_runs": "There are no runs yet. Start one from a room.",
    "run": "Run",
    "stage": "Stage",
    "state": "State",
    "changed": "Changed",
    "finished": "finished",
    "unfinished": "unfinished",
    "running": "running",
    "stopped": "stopped",
    "report": "Report",
    "open_chat": "Chat with this model",
    "curves": "Curves",
    "samples": "Samples",
    "sample_at": "{stage}, step {step}",
    "plan": "Plan",
    "configuration": "Configuration",
    "output": "Output",
    "progress": "{stage}: step {step} of {steps}, loss {loss}",
    "resume": "Go on with this run",
    "stop_run": "Stop this run",
    "none_yet": "Nothing yet.",
    "fill_in": "Fill in what differs from the defaults. Paths may lie in: {folders}",
    "run_name": "Name of the run",
    "run_name_help": "The folder in runs/; empty: made from the stage and the time",
    "seed": "Seed",
    "seed_help": "Seed of everything random",
    "preset": "Size",
    "defaults": "defaults",
    "required": "required",
    "one_a_line": "one a line",
    "start": "Start",
    "loading": "Loading …",
    "model": "Model",
    "second_model": "Second model",
    "no_second": "none",
    "no_models": "There is no model yet. Teach one, and it appears here.",
    "message": "Message",
    "message_help": "Enter sends, Shift+Enter begins a line, Escape stops",
    "send": "Send",
    "stop": "Stop",
    "copy": "Copy",
    "copied": "Copied",
    "new_chat": "New conversation",
    "you": "You",
    "temperature": "Temperature",
    "length": "Longest answer, tokens",
    "conversation": "Conversation",
    "empty_answer": "(The model said nothing.)",
    "cut": "(stopped)",
    "continues": "{model} has not been taught to answer: it continues what you write.",
    "busy": "The server is answering too many questions. Try again in a moment.",
    "demo_title": "A model is being taught on this machine",
    "demo_wait": "Preparing. The plan appears here as soon as this machine has been measured.",
    "demo_failed": "The teaching stopped before its end. What was printed stands below.",
    "demo_ready": "The model is ready. Talk with it below.",
    "can": "What it can do",
    "cannot": "What it cannot do",
    "parameters": "{millions} million parameters, {steps} updates, some {minutes} min of training",
    "expected": "Expected on held-out text: {bits} bits per byte",
    "what_small_can": abilities(SMALL)[0],
    "what_small_cannot": abilities(SMALL)[1],
    "what_large_can": abilities(LARGE)[0],
    "what_large_cannot": abilities(LARGE)[1],
    "step": "step",
    "error": "This did not work",
    "hint": "What helps",
    "not_found": "There is no such page",
}

PERSIAN = {
    "studio": "کارگاه طوطی",
    "skip": "پرش به محتوا",
    "rooms": "اتاق‌ها",
    "runs": "اجراها",
    "chat": "گفت‌وگو",
    "pages": "صفحه‌ها",
    "language": "زبان",
    "gallery_lead": "هر اتاق یک سامانه است با مرحله‌های خودش. مرحله‌ای را برگزینید تا اجرایی از آن آغاز شود.",
    "stages": "مرحله‌ها",
    "start_stage": "آغاز {stage}",
    "runs_lead": "هر مرحله یک اجرا می‌نویسد: پوشه‌ای با پیکربندی، رویدادها و نتیجه‌ها.",
    "no_runs": "هنوز اجرایی نیست. از یکی از اتاق‌ها آغاز کنید.",
    "run": "اجرا",
    "stage": "مرحله",
    "state": "وضعیت",
    "changed": "آخرین تغییر",
    "finished": "پایان‌یافته",
    "unfinished": "ناتمام",
    "running": "در حال اجرا",
    "stopped": "متوقف",
    "report": "گزارش",
    "open_chat": "گفت‌وگو با این مدل",
    "curves": "نمودارها",
    "samples": "نمونه‌ها",
    "sample_at": "{stage}، گام {step}",
    "plan": "برنامه",
    "configuration": "پیکربندی",
    "output": "خروجی",
    "progress": "{stage}: گام {step} از {steps}، زیان {loss}",
    "resume": "ادامهٔ این اجرا",
    "stop_run": "توقف این اجرا",
    "none_yet": "هنوز چیزی نیست.",
    "fill_in": "آنچه را با پیش‌فرض فرق دارد پر کنید. مسیرها باید در این پوشه‌ها باشند: {folders}",
    "run_name": "نام اجرا",
    "run_name_help": "پوشه‌ای در runs/؛ اگر خالی بماند از نام مرحله و زمان ساخته می‌شود",
    "seed": "بذر",
    "seed_help": "بذر همهٔ عددهای تصادفی",
    "preset": "اندازه",
    "defaults": "پیش‌فرض",
    "required": "لازم",
    "one_a_line": "هر کدام در یک سطر",
    "start": "آغاز",
    "loading": "در حال بارگذاری …",
    "model": "مدل",
    "second_model": "مدل دوم",
    "no_second": "هیچ‌کدام",
    "no_models": "هنوز مدلی نیست. مدلی بیاموزانید تا اینجا پدیدار شود.",
    "message": "پیام",
    "message_help": "Enter می‌فرستد، Shift+Enter سطر تازه می‌آورد، Escape متوقف می‌کند",
    "send": "فرستادن",
    "stop": "توقف",
    "copy": "رونوشت",
    "copied": "رونوشت گرفته شد",
    "new_chat": "گفت‌وگوی تازه",
    "you": "شما",
    "temperature": "دما",
    "length": "بیشترین طول پاسخ، به توکن",
    "conversation": "گفت‌وگو",
    "empty_answer": "(مدل چیزی نگفت.)",
    "cut": "(متوقف شد)",
    "continues": "{model} پاسخ دادن نیاموخته است: دنبالهٔ نوشتهٔ شما را می‌نویسد.",
    "busy": "سرور پرسش‌های زیادی را پاسخ می‌دهد. کمی بعد دوباره بفرستید.",
    "demo_title": "مدلی روی همین رایانه آموزش می‌بیند",
    "demo_wait": "در حال آماده‌سازی. برنامه پس از سنجیدن این رایانه همین‌جا پدیدار می‌شود.",
    "demo_failed": "آموزش پیش از پایان متوقف شد. آنچه چاپ شده در پایین آمده است.",
    "demo_ready": "مدل آماده است. در پایین با آن گفت‌وگو کنید.",
    "can": "از آن چه برمی‌آید",
    "cannot": "از آن چه برنمی‌آید",
    "parameters": "{millions} میلیون پارامتر، {steps} به‌روزرسانی، حدود {minutes} دقیقه آموزش",
    "expected": "آنچه در متن کنارگذاشته‌شده انتظار می‌رود: {bits} بیت بر بایت",
    "what_small_can": "به شیوهٔ متن‌های خودش می‌نویسد: با واژه‌ها، آهنگ و چیدمان آن‌ها، هر بار چند سطر.",
    "what_small_cannot": "چیزی از واقعیت‌ها نمی‌داند، استدلالی را دنبال نمی‌کند، حساب نمی‌کند و پاسخ‌هایش "
    "درخور اعتماد نیست. گفته‌هایش تقلید است، نه آگاهی.",
    "what_large_can": "به پرسش‌های ساده در چند جمله پاسخ می‌دهد، متن‌های کوتاه را بازمی‌نویسد و شیوهٔ "
    "متن‌هایی را که آموخته به خود گرفته است.",
    "what_large_cannot": "نادرست را به همان روانیِ درست می‌گوید، در حساب ضعیف است و رشتهٔ متن‌های بلند را گم "
    "می‌کند. هر چه را مهم است خودتان بسنجید.",
    "step": "گام",
    "error": "این کار نشد",
    "hint": "چاره",
    "not_found": "چنین صفحه‌ای نیست",
}

LANGUAGES = {
    "en": Language("en", "ltr", "English", ENGLISH),
    "fa": Language("fa", "rtl", "فارسی", PERSIAN),
}


def language(code: str) -> Language:
    """The language of this code, English for any other."""
    return LANGUAGES.get(code, LANGUAGES["en"])
