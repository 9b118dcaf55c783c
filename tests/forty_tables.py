"""Forty tables as people have them, small and invented, each with its clusters and the kinds that its columns have."""

import numpy as np
import pandas as pd

# Name and number of components, then columns: name, kinds that are right (several with /), and how it is drawn. A name
# with *4 stands for four columns; `gaps` loses a seventh of the values, @Int64 is a pandas type.
TABLES = """
penguins 3
  rowid drop number; bill gaussian real 38 7 1.5 1 gaps; flipper gaussian whole 185 16 5
  year categorical integers 2007 2010; grams gaussian whole 3700 600 300 25
  island categorical pick Biscoe,Dream,Torgersen .8; sex categorical pick f,m 0 gaps
lung_cancer 2
  inst counts/gaussian integers 1 34; age gaussian whole 55 12 5; sex categorical pick 1,2
  ecog categorical pick 0,1,2 .6; karno categorical pick 60,70,80,90,100; meals gaussian whole 600 700 100
  loss gaussian real 2 20 5 0
voters 2
  voter_id drop ids; age gaussian whole 30 30 10; party categorical pick blue,green,red .6
  income gaussian/negative-binomial lognormal 10 1 .3 0; trust categorical pick 1,2,3,4,5 .5
countries 3
  country drop names; people negative-binomial lognormal 15 0 1 0; gdp gaussian real 5 20 2
  life gaussian real 55 12 2 1; continent categorical pick Africa,Asia,Europe .7
answers_1_to_5 2
  respondent drop number 1; q*8 categorical pick 1,5,2,4,3 .7
answers_0_to_4 2
  q*8 categorical pick 0,4,1,3,2 .7
bank_customers 2
  since drop days %Y-%m-%d; balance gaussian zeros .3 0 real 20 40 4; age gaussian whole 30 30 5
  calls counts poisson 2 6; job categorical pick clerk,cook,driver,nurse
rain 2
  day drop days %d.%m.%Y; rain gaussian zeros .57 0 lognormal 1 .5 1; wind gaussian real 3 7
  hpa gaussian real 1020 -15 3 1
doctor_visits 2
  visits counts zeros .57 -.4 nb 2 6 1; age gaussian whole 20 45 9; chronic bernoulli flag .1 .8
  sex categorical pick f,m
shares 2
  rent gaussian share .3; food gaussian share .2; saved gaussian share .4; income gaussian real 30 30 4
  region categorical pick east,north,south,west .6
accidents 3
  crashes counts poisson 2 18; injured counts poisson 1 12; month categorical integers 1 13
  weekday categorical pick Fri,Mon,Sat,Sun,Thu,Tue,Wed
cars 3
  model drop names; mpg gaussian real 35 -9 2 1; cylinders categorical pick 4,6,8 .9; power gaussian whole 70 50 15
  kilos gaussian whole 1000 300 80; origin categorical pick 1,2,3
students 2
  studentId drop shuffled; maths gaussian whole 40 40 5; prose gaussian whole 45 35 6; passed bernoulli flag .2 .7
  grade categorical pick D,A,B,C .6
patients 2
  admitted drop days; systolic gaussian whole 115 45 8; bmi gaussian real 22 9 2 1; smoker categorical pick no,yes .6
  ward categorical pick 1,2,3,4
irises 3
  sepal_length gaussian real 5 .9 .25 1; sepal_width gaussian real 3.4 -.3 .25 1
  petal_length gaussian real 1.5 2.2 .25 1; petal_width gaussian real .3 .9 .25 1
geyser 2
  eruptions gaussian real 2 2.3 .3 3; waiting gaussian whole 54 26 6
wine 3
  x*6 gaussian real 2 3; cultivar categorical pick 1,2,3 .9
insects 3
  trap drop number 1; beetles counts poisson 1 10; flies counts poisson 2 12; moths counts poisson 3 11
purchases 2
  spent gaussian lognormal 2 0 .8; items counts poisson 2 14; age gaussian whole 28 30 5
  channel categorical pick shop,web .7
incomes 2
  income negative-binomial lognormal 9.5 1.8 .35 0; schooling categorical pick 1,2,3,4 .5
  hours gaussian real 20 18 3 1
web_pages 2
  time drop days %Y-%m-%dT10:00; hits negative-binomial nb 10 300 2; size gaussian whole 20000 30000 3000
  status categorical pick 200,404,500
genes 3
  sample drop names; gene*8 negative-binomial nb 20 300 5
earthquakes 2
  lat gaussian real -25 12 1.5; long gaussian real 168 12 1.5; depth gaussian whole 100 400 40
  mag gaussian real 4.6 0 .4 1; stations counts nb 33 0 5
trees 3
  plot categorical integers 1 9; girth gaussian real 8 5 .8 1; height gaussian real 12 8 1.5 1; ill bernoulli pick 0,1
  species categorical pick ash,beech,oak .8
weighted_survey 2
  weight gaussian lognormal 0 0 .3 4; region categorical pick east,north,south,west; v*8 categorical pick no,yes .8
true_false_nothing 2
  b*8 bernoulli/categorical truth .1 .8 @object gaps
unused_categories 2
  c*5 categorical pick a,b,c .8 @category; x gaussian real
river 2
  year drop number 1871; flow gaussian whole 1100 -500 60; level gaussian real 9 -4 .5
codes_1_2_9 2
  caseid drop ids; code*8 categorical pick 1,2,9 .75
passengers 2
  name drop names; class categorical pick 1st,2nd,3rd .7; fare gaussian real 10 60 5
  siblings counts/categorical poisson .5; survived bernoulli flag .3 .4
winters 2
  low gaussian real -10 20 3 0; snow gaussian zeros 0 1 lognormal 3 0 .3 1
  site categorical pick east,north,south,west
stars 2
  user drop names; film*4 categorical integers 1 3 3
per_cent 2
  urban gaussian zeros .2 0 whole 30 40 5; crop gaussian whole 70 -50 5; rate gaussian real 2 6 .8
abalone 3
  sex categorical pick F,I,M .6; length gaussian real .3 .15 .03 3; diameter gaussian real .2 .12 .02 3
  rings counts/gaussian poisson 7 4
laboratory 3
  value*6 gaussian real 10 5 .8 2 gaps; flag categorical pick high,low 0 gaps
households 2
  rooms categorical integers 1 5 4; children counts poisson .4 3; rent gaussian whole 500 900 80 10
  garden categorical pick no,yes .6
comments 2
  comment drop names; score gaussian real 2 5 .7; likes counts poisson 3 20; verified categorical pick no,yes
numbered_days 2
  date drop days %Y%m%d @int64; hour gaussian/negative-binomial integers 0 24; amount gaussian real 10 30 3
  units counts poisson 4 30
empty_and_constant 3
  unit drop only mm; batch drop only 7 @int64; note drop only nan @float64; x gaussian real; y gaussian real 0 -6
nullable_types 2
  n counts poisson 3 15 @Int64 gaps; on bernoulli/categorical truth .2 .6 @boolean gaps
  town categorical pick Bern,Zug .8 @string gaps; x gaussian real 0 6 1 2 @Float64 gaps
"""


class Draw:
    """How columns are drawn from components z: a method for each way."""

    def __init__(self, r, z):
        self.r, self.z, self.n = r, z, len(z)

    def real(self, mean=0.0, step=6.0, sd=1.0, digits=2):
        return self.r.normal(mean + step * self.z, sd).round(int(digits))

    def whole(self, mean, step, sd, unit=1):
        return (self.r.normal(mean + step * self.z, sd) / unit).round().astype(int) * int(unit)

    def lognormal(self, mean, step=0.0, sd=1.0, digits=2):
        return np.exp(self.real(mean, step, sd, 6)).round(int(digits))

    def poisson(self, rate, step=0.0):
        return self.r.poisson(rate + step * self.z)

    def nb(self, mean, step, c):
        return self.r.negative_binomial(c, c / (c + mean + step * self.z))

    def integers(self, low, high, step=0):
        return self.r.integers(low, high, self.n) + int(step) * self.z

    def pick(self, levels, clarity=0.0):
        levels = np.array(levels.split(","))
        levels = levels.astype(int) if all(map(str.isdigit, levels)) else levels
        own, anyone = levels[self.z % len(levels)], self.r.choice(levels, self.n)
        return np.where(self.r.random(self.n) < clarity, own, anyone)

    def truth(self, p, step):
        return self.r.random(self.n) < p + step * self.z

    def flag(self, p, step):
        return self.truth(p, step).astype(int)

    def share(self, zeros):
        return self.zeros(zeros, 0.0, "beta")

    def beta(self):
        return self.r.beta(2 + 3 * self.z, 5).round(4)

    def zeros(self, p, step, way, *arguments):
        return np.where(self.truth(p, step), 0, getattr(self, way)(*arguments))

    def number(self, start=0):
        return int(start) + np.arange(self.n)

    def shuffled(self):
        return 1000 + self.r.permutation(self.n)

    def ids(self):
        return self.r.choice(10**6, self.n, replace=False)

    def names(self):
        return np.array([f"name {i}" for i in self.r.permutation(self.n)])

    def days(self, form=None):
        dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(self.r.integers(0, 700, self.n), "D")
        return dates if form is None else dates.strftime(form).to_numpy()

    def only(self, value):
        return [value] * self.n


def specifications():
    """{name of a table: (components, {column: (kinds that are right, words that say how it is drawn)})}."""
    found = {}
    for line in TABLES.strip().splitlines():
        if not line.startswith(" "):
            name, components = line.split()
            found[name] = (int(components), columns := {})
            continue
        for column, kinds, *words in map(str.split, line.split(";")):
            column, _, copies = column.partition("*")
            right = kinds.replace("counts", "poisson/negative-binomial").split("/")
            columns.update({column + (str(i) if copies else ""): (right, words) for i in range(int(copies or 1))})
    return found


def drawn(components, columns, seed, n=240):
    """A table and its components (n,)."""
    r = np.random.default_rng(seed)
    draw = Draw(r, r.integers(0, components, n))
    return pd.DataFrame({name: _column(draw, words) for name, (_, words) in columns.items()}), draw.z


def _column(draw, words):
    lost = "gaps" in words
    kind = next((word[1:] for word in words if word.startswith("@")), None)
    way, *arguments = (word for word in words if word != "gaps" and not word.startswith("@"))
    column = pd.Series(getattr(draw, way)(*map(_number, arguments)))
    if kind == "category":
        column = pd.Series(pd.Categorical(column, [*"xabcyz"]))  # of which x, y and z do not occur
    elif kind is not None:
        column = column.astype(kind)
    return column.mask(draw.r.random(draw.n) < 0.15) if lost else column


def _number(word):
    try:
        return float(word) if word != "nan" else word
    except ValueError:
        return word
